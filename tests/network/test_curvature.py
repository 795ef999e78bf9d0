"""Worth of elements where the gradient is zero: in closed form, and against what really is lost."""

import copy
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from dyn_lightning.dynamize import dynamize
from dyn_lightning.errors import SettingError
from dyn_lightning.network.curvature import UNUSED, importance_by_curvature
from dyn_lightning.network.reorder import reorder
from dyn_lightning.tasks import Imitation
from tests.trained import WaveNet, shapes, trained


def imitation(network: nn.Module, dynamic: Any, loss: str) -> Imitation:
    task = Imitation(outputs=loss, features=[])
    task.follow(network)
    task.attach(dynamic)
    return task


def squares(y: Tensor) -> Tensor:
    """Half the summed squared error of each item: its Hessian is the identity."""
    noise = torch.randint(0, 2, y.shape) * 2.0 - 1.0
    return (y * noise).sum() / len(y)


def test_of_a_linear_network_it_is_what_is_lost():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3))
    dynamic, x = dynamize(net, torch.randn(1, 4)), torch.randn(40, 4)
    scores = importance_by_curvature(dynamic, [x[:10], x[10:]], squares, draws=300)["0"]
    hidden = net[0](x)
    # half the squared change of the output when element i goes, times two
    lost = torch.stack([(hidden[:, i : i + 1] * net[1].weight[:, i]).square().sum() for i in range(6)])
    torch.testing.assert_close(scores, lost.detach(), rtol=0.1, atol=0.0)


def test_layers_of_one_size_have_one_gate():
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = nn.Linear(3, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            return self.out(x + self.b(x))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    net, x = Residual(), torch.randn(20, 3)
    dynamic = dynamize(net, x[:1])
    (scores,) = importance_by_curvature(dynamic, [x], squares, draws=1).values()
    # by a gate g on both: out((g·a) + g·b(g·a)), its derivative at one
    a = net.a(x)
    w = net.out.weight[0]
    derivative = a * w + net.b(a) * w + a * (w @ net.b.weight)
    torch.testing.assert_close(scores, derivative.detach().square().sum(0))


@pytest.fixture(scope="module")
def parent() -> nn.Module:
    return trained(WaveNet((8, 10, 12)), steps=120)


def test_it_ranks_elements_as_their_removal_does(parent: nn.Module):
    dynamic = dynamize(parent, torch.randn(2, 1, 48))
    task, (x, _) = imitation(parent, dynamic, "kl"), shapes(128, 5)
    task.eval()
    torch.manual_seed(0)
    scores = importance_by_curvature(dynamic, [x], task.pull, draws=16)
    teacher = parent(x).detach()
    for name, width in dynamic.widths.items():
        lost = []
        for i in range(width.full_size):
            cut = copy.deepcopy(dynamic).eval()
            last = torch.ones(width.full_size)
            last[i] = 0
            reorder(cut, {name: last})
            cut.widths[name].freeze(width.full_size - 1)
            with torch.no_grad():
                lost.append(float(task.distances(cut(x), teacher)["output"]))
        assert spearmanr(lost, scores[name]).statistic > 0.75, name


def test_elements_out_of_use_stay_behind_and_nothing_is_left(parent: nn.Module):
    dynamic = dynamize(parent, torch.randn(2, 1, 48)).train()
    dynamic.widths["first"].freeze(5)
    before = copy.deepcopy(dynamic.state_dict())
    task, (x, _) = imitation(parent, dynamic, "kl"), shapes(32, 5)
    scores = importance_by_curvature(dynamic, [x], task.pull, draws=1)
    assert (scores["first"][:5] >= 0).all()
    assert (scores["first"][5:] == UNUSED).all()
    assert dynamic.training
    assert all(width.probes is None for width in dynamic.widths.values())
    assert all(p.grad is None for p in dynamic.parameters())
    assert all(torch.equal(x, before[key]) for key, x in dynamic.state_dict().items())


def test_draws_are_needed(parent: nn.Module):
    dynamic = dynamize(parent, torch.randn(2, 1, 48))
    with pytest.raises(SettingError, match="draws must be a whole number, 1 or more, got 0"):
        importance_by_curvature(dynamic, [], squares, draws=0)
