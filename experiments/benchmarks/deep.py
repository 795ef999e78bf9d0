"""Networks of any depth: stacks of linear layers, of convolutions, with batch norms, and with residual sums."""

from __future__ import annotations

from torch import Tensor, nn

SIZE, FRAMES = 8, 4
KINDS = ("linear", "convolution", "batch norm", "residual")


class Residual(nn.Module):
    """Blocks of two convolutions (batch, 8, frames), each added to what came in: all of them share one size."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.inner = nn.ModuleList(nn.Conv1d(SIZE, SIZE, 1) for _ in range(layers // 2))
        self.outer = nn.ModuleList(nn.Conv1d(SIZE, SIZE, 1) for _ in range(layers // 2))
        self.first, self.last = nn.Conv1d(SIZE, SIZE, 1), nn.Conv1d(SIZE, SIZE, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for inner, outer in zip(self.inner, self.outer, strict=True):
            x = x + outer(inner(x).relu())
        return self.last(x)


def deep(kind: str, layers: int) -> tuple[nn.Module, tuple[int, ...]]:
    """A network of so many linear or convolutional layers of 8 elements, and the shape of its input.

    Args:
        kind: one of ``KINDS``; ``batch norm`` has a norm and a ReLU behind each convolution.
        layers: its depth.
    """
    if kind == "linear":
        return nn.Sequential(*(nn.Linear(SIZE, SIZE) for _ in range(layers))), (2, SIZE)
    shape = (2, SIZE, FRAMES)
    if kind == "residual":
        return Residual(layers), shape
    layer_list: list[nn.Module] = []
    for _ in range(layers):
        layer_list.append(nn.Conv1d(SIZE, SIZE, 1))
        layer_list += [nn.BatchNorm1d(SIZE), nn.ReLU()] if kind == "batch norm" else []
    return nn.Sequential(*layer_list), shape
