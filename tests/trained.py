"""Small networks that are trained in a second, for tests of what is done to trained networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = 4


def shapes(items: int, seed: int) -> tuple[Tensor, Tensor]:
    """Four kinds of noisy waves, (items, 1, 48), and which each is: slow, fast, falling, rising in pitch."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(0, CLASSES, (items,), generator=generator)
    t = torch.linspace(0, 1, 48)
    slow = 4 + 3 * torch.rand(items, generator=generator)
    start, slope = torch.stack([slow, 3 * slow, 3 * slow, slow])[kind, torch.arange(items)], torch.zeros(items)
    slope = torch.where(kind == 2, -slow, torch.where(kind == 3, slow, slope))
    phase = 6.28 * (start[:, None] * t + slope[:, None] * t**2 + torch.rand(items, 1, generator=generator))
    noise = 0.5 * torch.randn(items, 48, generator=generator)
    return (phase.sin() + noise)[:, None], kind


class WaveNet(nn.Module):
    """Two convolutions, a GRU or none, and a classifier: (B, 1, 48) → logits (B, 4)."""

    def __init__(self, sizes: tuple[int, int, int] = (12, 16, 16), *, recurrent: bool = False) -> None:
        super().__init__()
        a, b, c = sizes
        self.first = nn.Conv1d(1, a, 5, padding=2)
        self.second = nn.Conv1d(a, b, 5, stride=2, padding=2)
        self.gru = nn.GRU(b, b, batch_first=True) if recurrent else None
        self.hidden = nn.Linear(b, c)
        self.out = nn.Linear(c, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x).relu()).relu()
        if self.gru is not None:
            x = self.gru(x.transpose(1, 2))[0].transpose(1, 2)
        return self.out(self.hidden(x.mean(-1)).relu())  # type: ignore[no-any-return]


def trained(network: nn.Module, steps: int = 200, seed: int = 0, lr: float = 1e-2) -> nn.Module:
    """The network trained on :func:`shapes`, in evaluation mode."""
    torch.manual_seed(seed)
    x, kind = shapes(512, seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    for step in range(steps):
        at = slice(64 * (step % 8), 64 * (step % 8 + 1))
        loss = nn.functional.cross_entropy(network(x[at]), kind[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def accuracy(network: nn.Module, seed: int = 99) -> float:
    """Share of unseen items that are told."""
    x, kind = shapes(512, seed)
    with torch.no_grad():
        return float((network.eval()(x).argmax(1) == kind).float().mean())
