"""Parts that are run again in the backward pass find the same sizes, parameters and noise."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dyn_lightning.dynamize import dynamize


class Block(nn.Module):
    """Reads a parameter and an attribute of its own."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.norm, self.up, self.down = nn.LayerNorm(size), nn.Linear(size, 12), nn.Linear(12, size)
        self.gain = nn.Parameter(torch.rand(size) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(torch.relu(self.up(self.norm(x))))
        return x + (y * self.gain).view(-1, self.size)


class Net(nn.Module):
    """Checkpoints a part, and a method of its own."""

    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.first, self.block, self.last = nn.Linear(6, 16), Block(16), nn.Linear(16, 3)
        self.inner = nn.Linear(16, 16)

    def again(self, x: Tensor) -> Tensor:
        return torch.relu(self.inner(x)) * self.block.gain

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        for part in (self.block, self.again):
            y = part(y) if self.reentrant is None else checkpoint(part, y, use_reentrant=self.reentrant)
        return self.last(y)


def gradients(reentrant: bool | None, state: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    net: Any = dynamize(Net(reentrant), torch.randn(5, 6)).train()
    for width in net.widths.values():
        width.set_lam(0.61)
        width.set_learning(state == "searching")
        if state == "frozen":
            width.freeze()
    torch.manual_seed(1)
    net(torch.randn(5, 6)).square().mean().backward()
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("state", ["searching", "at rest", "frozen"])
def test_gradients_are_those_without_checkpointing(state: str) -> None:
    expected = gradients(None, state)
    assert "block.gain" in expected
    assert ("widths.block-up.theta" in expected) == (state == "searching")
    for reentrant in (False, True):
        found = gradients(reentrant, state)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, msg=name)
