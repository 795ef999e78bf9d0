"""The backbone and the example input are as they were, and a second dynamize finds what the first has found."""

import copy
import pickle
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.network.dynamic import run_in_eval


class Casts(nn.Module):
    """Functions that return their input itself where nothing is to be done, called with its own tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(24, 32), nn.Linear(32, 28), nn.Linear(28, 5)
        self.scale = nn.Parameter(torch.ones(32))
        self.register_buffer("shift", torch.zeros(28))
        self.plain = torch.ones(24)  # neither a parameter nor a buffer

    def forward(self, x: Tensor) -> Tensor:
        self.last = x.shape[-1]
        y = torch.relu(self.a(x.float() * self.plain.contiguous())) * self.scale.to(x.dtype)
        return self.c(torch.relu(self.b(y)) + self.shift.float())


class Writes(nn.Module):
    """Keeps states in a buffer, normalises its weights in place, draws numbers and writes into its input."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(24, 32), nn.Linear(32, 28), nn.Linear(28, 5)
        self.register_buffer("mean", torch.zeros(24))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.calls += 1
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
            self.c.weight.copy_(F.normalize(self.c.weight, dim=0))
        x -= self.mean
        return self.c(torch.relu(self.b(torch.relu(self.a(x)) + 0 * torch.rand(1))))


def sizes(dynamic: Any) -> dict[str, int]:
    return {name: width.full_size for name, width in dynamic.widths.items()}


def test_nothing_is_left_on_the_backbones_own_tensors() -> None:
    net, x = Casts(), torch.randn(2, 24)
    own = [*net.parameters(), *net.buffers(), net.plain, x]
    before = pickle.dumps(net)
    first = dynamize(net, x)
    assert sizes(first) == {"a": 32, "b": 28}
    assert pickle.dumps(net) == before
    assert not any(vars(tensor) for tensor in own)
    assert not hasattr(net, "last")
    for again in (net, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert sizes(dynamize(again, x)) == sizes(first)


def test_what_the_networks_code_writes_is_put_back() -> None:
    torch.manual_seed(0)
    net, x = Writes(), torch.randn(2, 24)
    before, example, state = copy.deepcopy(net.state_dict()), x.clone(), torch.get_rng_state()
    dynamic = dynamize(net, x)
    assert sizes(dynamic) == {"a": 32, "b": 28}
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name
        assert torch.equal(dynamic.state_dict()[name], before[name]), name
    assert torch.equal(x, example)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(run_in_eval(dynamic, x), run_in_eval(net, x))
    for width in dynamic.widths.values():
        width.freeze(width.full_size // 2)
    _, report = consolidate(dynamic, [x, x])
    assert report.largest_relative_difference < 1e-5
    assert torch.equal(x, example)
