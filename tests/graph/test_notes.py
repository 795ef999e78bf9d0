import torch
from torch import Tensor, nn

from dyn_lightning.graph import read_graph


def test_roots_are_what_can_be_learned_and_layers_that_cannot() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.out = nn.Linear(3, 12), nn.Linear(4, 2)
            self.gain = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x).view(x.shape[0], 3, -1).sum(1)
            return self.out(y) * self.gain

    graph = read_graph(Net(), torch.randn(2, 3))
    (part, out) = graph.roots()
    assert (part.full_size, part.names, part.reason) == (4, ["a"], None)
    assert out.names == ["out"]
    assert "output" in str(out.reason)
    assert any(size.weak for size in graph.sizes)  # the gain's, which is of no interest
