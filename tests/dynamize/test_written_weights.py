"""Networks whose own code writes their weights while they run."""

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning import consolidate, dynamize


class Words(nn.Module):
    def __init__(self, table: nn.Module) -> None:
        super().__init__()
        self.table, self.out = table, nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.table(x))


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_tables_of_a_largest_norm(kind: type[nn.Module]) -> None:
    net, x = Words(kind(9, 12, max_norm=0.5)), torch.randint(9, (4, 5))
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    dynamic = dynamize(net, x)
    assert "table" in dynamic.widths
    for owner in (net, dynamic):
        for name, p in before.items():
            assert torch.equal(owner.get_parameter(name), p)
    dynamic.widths["table"].freeze(5)
    small, _ = consolidate(dynamic, [x])
    assert small.table.weight.shape == (9, 5)
    torch.testing.assert_close(small.eval()(x), dynamic.eval()(x))


class Scaled(nn.Module):
    """Code of one's own that does the like."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.first.weight.mul_(0.5)
        return self.last(torch.relu(self.first(x)))


def test_weights_that_code_writes_are_put_back() -> None:
    net, x = Scaled(), torch.randn(3, 4)
    before = net.first.weight.detach().clone()
    dynamic = dynamize(net, x)
    assert "first" in dynamic.widths
    assert torch.equal(net.first.weight, before)
    assert torch.equal(dynamic.get_parameter("first.weight"), before)
