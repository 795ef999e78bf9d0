"""Limits of other costs than FLOPs: the controller ends at them as it does at FLOPs."""

import copy

import pytest
import torch
from torch import nn

from dyn_lightning.costs.budgets import FlopsLimit
from dyn_lightning.costs.limits import Limit, Parameters
from dyn_lightning.dynamize import dynamize
from dyn_lightning.errors import SettingError
from dyn_lightning.objectives import FlopsBudget


def mlp(hidden=256):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(20, hidden), nn.ReLU(), nn.Linear(hidden, hidden // 2), nn.ReLU(), nn.Linear(hidden // 2, 4)
    )
    return dynamize(net, torch.randn(5, 20))


def parameters(a, b):
    return 20 * a + a + a * b + b + 4 * b + 4


class Activations(Limit):
    """Numbers that stand between layers: a user's own limit, with nothing but what it must say."""

    def __init__(self):
        self.asked = {"activations": 60.0}

    def unit(self, complexity):
        return "activations"

    def cost(self, complexity, sizes):
        return sum(sizes.values())

    def at_most(self, complexity):
        return 60.0


def search(network, objective, steps=200):
    objective.check(network)
    optimizer = torch.optim.Adam([w.theta for w in network.widths.values()], lr=0.03)
    for step in range(steps):
        optimizer.zero_grad()
        task = 0.5 - 0.2 * network.widths["0"].lam  # would rather keep its first layer
        (task + objective(network, task.detach(), step / steps)).backward()
        optimizer.step()
        for width in network.widths.values():
            width.clamp_()
        objective.after_step(network, (step + 1) / steps)
    return objective.final_sizes(network)


@pytest.mark.parametrize("limit", [Parameters(at_most=5000), Parameters(share_of_all=0.1)])
def test_a_budget_of_parameters_is_met(limit):
    network = mlp()
    most = 5000 if "parameters" in limit.asked else 0.1 * parameters(256, 128)
    assert limit.at_most(network.complexity) == pytest.approx(most)
    objective = FlopsBudget(limit=limit)
    assert objective.above(network.complexity).startswith("ABOVE ITS BUDGET: 3.879e+04 parameters")
    sizes = search(network, objective)
    assert 0.98 * most <= parameters(*sizes.values()) <= most
    assert limit.learnable_share(network.complexity).item() == pytest.approx((most - 4) / (38788 - 4), rel=0.1)
    for name, width in network.widths.items():
        width.freeze(sizes[name])
    assert objective.above(network.complexity) is None
    assert objective.asked == limit.asked


def test_a_limit_of_ones_own():
    network = mlp()
    sizes = search(network, FlopsBudget(limit=Activations()))
    assert 59 <= sum(sizes.values()) <= 60
    with pytest.raises(SettingError, match="60 activations leaves nothing to do: at full size the network costs 48"):
        FlopsBudget(limit=Activations()).check(mlp(32))


def test_gradients_and_elasticities_are_those_of_the_formula():
    network = mlp()
    complexity = network.complexity
    network.widths["0"].set_lam(0.5)
    network.widths["2"].set_lam(0.25)
    a, b = 128, 32
    limit = Parameters(at_most=1)
    share = limit.learnable_share(complexity)
    assert share.item() == pytest.approx((parameters(a, b) - 4) / (parameters(256, 128) - 4), rel=1e-5)
    share.log().backward()
    expected = [a * (21 + b) / (parameters(a, b) - 4), b * (a + 5) / (parameters(a, b) - 4)]
    assert [w.theta.grad.item() for w in network.widths.values()] == pytest.approx(expected, rel=1e-5)
    assert limit.elasticities(complexity).tolist() == pytest.approx(expected, rel=1e-5)
    assert complexity.parameters(complexity.full_sizes) == parameters(256, 128)
    assert complexity.fixed_parameters() == 4
    # Those of FLOPs by the general way are those by the polynomial's own.
    flops = FlopsLimit(share=0.5)
    by_hand = copy.deepcopy(complexity).elasticities()
    general = Limit.elasticities(_Flops(share=0.5), complexity)
    torch.testing.assert_close(general, by_hand)
    torch.testing.assert_close(flops.elasticities(complexity), by_hand)


class _Flops(FlopsLimit):
    """FLOPs as a limit of one's own would say them."""

    def cost(self, complexity, sizes):
        a, b = sizes.values()
        return 5 * (2 * (20 * a + a * b + 4 * b) + (a + b + 4) + a + b)


def test_a_general_cost_gives_what_the_polynomial_gives():
    complexity = mlp().complexity
    general, own = _Flops(share=0.5), FlopsLimit(share=0.5)
    assert general.cost(complexity, complexity.full_sizes) == own.cost(complexity, complexity.full_sizes)
    for width, lam in zip(complexity.widths.values(), (0.5, 0.3), strict=True):
        width.set_lam(lam)
    torch.testing.assert_close(Limit.learnable_share(general, complexity), own.learnable_share(complexity))


def test_settings_that_cannot_be():
    for wrong in ({}, {"at_most": 5, "share_of_all": 0.5}, {"at_most": 0}, {"share_of_all": 1.5}):
        with pytest.raises(SettingError):
            Parameters(**wrong)
    with pytest.raises(SettingError, match="either as limit"):
        FlopsBudget(share=0.5, limit=Parameters(at_most=5))
    with pytest.raises(SettingError, match=r"a budget of 10 parameters is out of reach: .* \(of which 4 no size"):
        FlopsBudget(limit=Parameters(at_most=10)).check(mlp())
