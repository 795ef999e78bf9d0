"""Objectives: formulas by hand, and controllers against simulated losses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from dyn_lightning.costs.allocation import learnable_share
from dyn_lightning.dynamize import dynamize
from dyn_lightning.errors import SettingError
from dyn_lightning.objectives import FlopsBudget, LambdaSquared, LossTolerance
from experiments.peers.gates import GatedWidth, GaussianGates, HardConcreteGates


def mlp(hidden: int = 64) -> Any:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(20, hidden), nn.ReLU(), nn.Linear(hidden, hidden // 2), nn.ReLU(), nn.Linear(hidden // 2, 4)
    )
    return dynamize(net, torch.randn(1, 20))


def set_lams(network: Any, *lams: float) -> None:
    for width, lam in zip(network.widths.values(), lams, strict=True):
        width.set_lam(lam)


def zero() -> torch.Tensor:
    return torch.tensor(0.0)


def test_lambda_squared_is_the_mean_of_squares_times_beta() -> None:
    network = mlp()
    set_lams(network, 0.5, 0.25)
    penalty = LambdaSquared(0.8)(network, zero(), 0.0)
    assert penalty.item() == pytest.approx(0.8 / 2 * (0.5**2 + 0.25**2), rel=1e-6)
    penalty.backward()
    # d/dθ of β/N_d·λ² with λ = e^θ is 2β/N_d·λ².
    gradients = [w.theta.grad.item() for w in network.widths.values()]
    assert gradients == pytest.approx([0.8 * 0.25, 0.8 * 0.0625], rel=1e-5)


def test_the_share_of_learnable_flops_is_that_by_hand() -> None:
    network = mlp()
    assert learnable_share(network.complexity).item() == pytest.approx(1.0, rel=1e-5)
    set_lams(network, 0.5, 0.5)
    cost = network.complexity
    by_hand = (cost.flops_at({"0": 32, "2": 16}) - cost.fixed_flops()) / cost.learnable_flops()
    assert learnable_share(cost).item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_budget_is_met_within_one_percent_or_a_unit(share: float) -> None:
    network, objective = mlp(512), FlopsBudget(share=share)
    objective.check(network)
    thetas = [w.theta for w in network.widths.values()]
    optimizer = torch.optim.Adam(thetas, lr=0.02)
    for step in range(300):
        optimizer.zero_grad()
        # A task that would rather keep its first layer.
        task = 0.5 - 0.2 * network.widths["0"].lam
        (task + objective(network, task.detach(), step / 300)).backward()
        optimizer.step()
        for width in network.widths.values():
            width.clamp_()
    cost = network.complexity
    budget = cost.fixed_flops() + share * cost.learnable_flops()
    assert float(cost.flops_per_second().detach()) == pytest.approx(budget, rel=0.15), "the controller itself gets near"
    assert 0.99 * budget <= cost.flops_at(objective.final_sizes(network)) <= budget


def test_the_target_falls_over_the_descent_and_then_rests_at_the_budget() -> None:
    def pull(progress: float) -> float:
        network, objective = mlp(), FlopsBudget(share=0.25, integral=0.0, cohesion=0.0, descent=0.6)
        objective(network, torch.tensor(2.0), progress).backward()
        assert not objective.finished
        slopes = [w.theta.grad.item() for w in network.widths.values()]
        return sum(slopes) / (2.0 * 2.0 * degree)  # proportional gain, loss scale

    network = mlp()
    learnable_share(network.complexity).log().backward()
    degree = sum(w.theta.grad.item() for w in network.widths.values())
    assert pull(0.0) == 0.0
    assert pull(0.3) == pytest.approx(0.5 * math.log(4.0), rel=1e-5)
    assert pull(0.6) == pull(0.9) == pull(1.0) == pytest.approx(math.log(4.0), rel=1e-5)


def log_shares(network: Any, objective: FlopsBudget, task: Any, lr: float = 0.03, steps: int = 100) -> list[float]:
    """Log of the learnable share after each step of a search of the sizes alone."""
    optimizer = torch.optim.Adam([w.theta for w in network.widths.values()], lr=lr)
    shares = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = task()
        (loss + objective(network, torch.tensor(0.01), step / steps)).backward()
        optimizer.step()
        for width in network.widths.values():
            width.clamp_()
        objective.after_step(network, (step + 1) / steps)
        shares.append(float(learnable_share(network.complexity).log().detach()))
    return shares


@pytest.mark.parametrize("leash", [1.2, 1.6, math.inf])
def test_a_task_worth_more_than_its_loss_does_not_hold_the_search_up(leash: float) -> None:
    network = mlp(512)

    def task() -> torch.Tensor:  # a loss of a hundredth, and sizes worth a hundred times that
        return -torch.stack([w.lam for w in network.widths.values()]).sum()

    shares = log_shares(network, FlopsBudget(share=0.1, leash=leash), task)
    if leash == math.inf:
        assert shares[-1] > math.log(0.5)
        return
    limits = [math.log(0.1) * (step + 1) / 100 + math.log(leash) for step in range(100)]
    assert all(share <= limit + 1e-3 for share, limit in zip(shares, limits, strict=True))
    assert shares[-1] == pytest.approx(limits[-1], abs=1e-3)


@pytest.mark.parametrize("leash", [1.6, math.inf])
def test_a_pull_that_goes_too_far_is_stopped_at_the_budget(leash: float) -> None:
    network, objective = mlp(512), FlopsBudget(share=0.25, leash=leash)
    objective.integral_error.fill_(1e3)
    shares = log_shares(network, objective, lambda: torch.tensor(0.0), lr=0.1)
    assert min(shares) == pytest.approx(math.log(0.25), abs=1e-3)
    assert float(objective.integral_error) < 10.0
    # Nothing is left to be filled up, with elements that have stood still: the sizes are those that were searched.
    for name, size in objective.final_sizes(network).items():
        assert size == pytest.approx(float(network.widths[name].k.detach()), abs=0.51)


def test_a_search_that_goes_as_planned_is_left_alone() -> None:
    def found(leash: float) -> list[float]:
        network = mlp(512)
        objective = FlopsBudget(share=0.25, leash=leash)
        return log_shares(network, objective, lambda: -0.01 * network.widths["0"].lam)

    assert found(1.6) == found(math.inf)


@pytest.mark.parametrize("kind", [GaussianGates, HardConcreteGates])
def test_gates_shrink_in_a_search_too_short_for_them(kind: type[GatedWidth]) -> None:
    torch.manual_seed(0)
    network = dynamize(
        nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 2)), torch.randn(1, 6), width_class=kind
    )
    x = torch.randn(32, 6)
    shares = log_shares(network.train(), FlopsBudget(share=0.1), lambda: network(x).square().mean(), steps=30)
    assert shares[-1] <= math.log(0.16) + 1e-3


def test_leash_must_leave_room() -> None:
    with pytest.raises(ValueError, match="leash"):
        FlopsBudget(share=0.5, leash=1.0)


def test_budget_in_flops_is_the_whole_cost() -> None:
    network = mlp()
    cost = network.complexity
    objective = FlopsBudget(flops_per_second=0.4 * cost.flops_full_size())
    assert cost.flops_at(objective.final_sizes(network)) <= 0.4 * cost.flops_full_size()


def test_descent_must_take_some_of_the_search() -> None:
    with pytest.raises(ValueError, match="descent"):
        FlopsBudget(share=0.5, descent=0.0)


def test_cohesion_pulls_each_width_by_what_it_costs_to_their_weighted_mean() -> None:
    network, objective = mlp(), FlopsBudget(share=0.5, proportional=0.0, integral=0.0, cohesion=3.0)
    set_lams(network, 0.75, 0.25)
    objective(network, torch.tensor(0.5), 0.0).backward()
    sizes, cost = {"0": 48, "2": 8}, network.complexity

    def slope(name: str) -> float:  # exact: no size has a power above 2
        up, down = (cost.flops_at({**sizes, name: sizes[name] + step}) for step in (1, -1))
        return sizes[name] * (up - down) / 2

    total = slope("0") + slope("2")
    shares = {name: 2 * slope(name) / total for name in sizes}
    assert shares["0"] > 2 * shares["2"], "else the case would not tell the widths' weights apart"
    mean = (shares["0"] * math.log(0.75) + shares["2"] * math.log(0.25)) / 2
    for (name, width), lam in zip(network.widths.items(), (0.75, 0.25), strict=True):
        expected = 3.0 * 0.5 * 2 * shares[name] * (math.log(lam) - mean)
        assert width.theta.grad.item() == pytest.approx(expected, rel=1e-4)
    assert sum(w.theta.grad.item() for w in network.widths.values()) == pytest.approx(0.0, abs=1e-6)


def test_a_width_that_costs_nothing_is_free_of_the_others() -> None:
    def pulls(*costs: float) -> list[float]:
        network = mlp()
        network.complexity.elasticities = lambda: torch.tensor(costs)
        set_lams(network, 0.5, 1.0)
        FlopsBudget(share=0.5)(network, torch.tensor(1.0), 0.0).backward()
        return [w.theta.grad.item() for w in network.widths.values()]

    assert pulls(1.0, 0.0) == [0.0, 0.0]
    assert pulls(1.0, 1.0) == pytest.approx([-math.log(2.0), math.log(2.0)], rel=1e-5), "held where both cost the same"


def test_budget_out_of_reach_names_the_least() -> None:
    network = mlp()
    for width in network.widths.values():
        width.limit(lam_min=0.5)
    least = network.complexity.flops_at({"0": 32, "2": 16})
    with pytest.raises(ValueError, match=f"{least:.4g}.*lam_min"):
        FlopsBudget(share=0.01).check(network)


def test_budget_above_full_size_is_refused() -> None:
    network = mlp()
    with pytest.raises(ValueError, match="leaves nothing to do"):
        FlopsBudget(flops_per_second=2 * network.complexity.flops_full_size()).check(network)
    for nothing in (0.0, -1e6):
        with pytest.raises(ValueError, match="flops_per_second must be positive"):
            FlopsBudget(flops_per_second=nothing)


@pytest.mark.parametrize("arguments", [{}, {"share": 0.5, "flops_per_second": 1e6}, {"share": 1.5}])
def test_budget_must_be_given_once_and_be_a_share(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="share"):
        FlopsBudget(**arguments)


@pytest.mark.parametrize("enough", [10.0, 32.0])
def test_tolerance_finds_the_size_below_which_the_loss_rises(enough: float) -> None:
    network = mlp()
    network.widths["2"].freeze()
    objective, width = LossTolerance(0.01), network.widths["0"]
    optimizer = torch.optim.Adam([width.theta], lr=2e-3)
    for step in range(4000):
        optimizer.zero_grad()
        # Ten times the tolerance for each element too few, and the noise of batches.
        task = 0.1 + 0.1 * torch.relu(enough - width.k) + 0.002 * torch.randn(())
        objective.observe(torch.tensor(1.1) if step == 0 else task.detach())
        (task + objective(network, task.detach(), step / 4000)).backward()
        optimizer.step()
        width.clamp_()
    assert objective.final_sizes(network)["0"] == pytest.approx(enough, abs=1)


def test_tolerance_keeps_the_boundary_unit() -> None:
    network = mlp()
    set_lams(network, 10.5 / 64, 8.001 / 32)
    assert LossTolerance().final_sizes(network) == {"0": 11, "2": 8}


def test_state_is_in_the_checkpoint() -> None:
    network = mlp()
    for objective, fresh in (
        (FlopsBudget(share=0.5), FlopsBudget(share=0.5)),
        (LossTolerance(), LossTolerance()),
    ):
        for step in range(3):
            objective.observe(torch.tensor(1.0 - 0.1 * step))
            objective(network, torch.tensor(1.0 - 0.1 * step), 0.5)
        fresh.load_state_dict(objective.state_dict())
        loss = torch.tensor(0.6)
        objective.observe(loss)
        fresh.observe(loss)
        assert fresh(network, loss, 0.6).item() == objective(network, loss, 0.6).item()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("make", [lambda: FlopsBudget(share=0.5), LossTolerance, LambdaSquared])
def test_a_loss_that_is_no_number_changes_nothing(make: Any, bad: float) -> None:
    """The same losses with some that are not finite in between, at the start too, give the same penalties."""
    penalties = []
    for losses in ([1.0, 0.8, 0.7], [bad, 1.0, bad, bad, 0.8, 0.7]):
        network, objective, found = mlp(), make(), []
        for loss in losses:
            for width in network.widths.values():
                width.set_lam(0.9 - 0.1 * len(found))
            objective.observe(torch.tensor(loss))
            penalty = objective(network, torch.tensor(loss), 0.9)
            assert penalty.isfinite()
            if math.isfinite(loss):
                found.append(penalty.item())
        penalties.append(found)
    assert penalties[0] == pytest.approx(penalties[1], rel=1e-6)


def test_a_share_of_all_counts_what_no_size_governs() -> None:
    torch.manual_seed(0)
    network = dynamize(nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 4)), torch.randn(3, 20), fixed=[])
    cost, objective = network.complexity, FlopsBudget(share_of_all=0.5)
    assert objective.budget(cost) == 0.5 * cost.flops_full_size()
    set_lams(network, 0.6)
    assert 0.4 * cost.flops_full_size() < cost.flops_at(objective.final_sizes(network)) <= 0.5 * cost.flops_full_size()
    fixed = FlopsBudget(share=0.5)
    assert fixed.budget(cost) == cost.fixed_flops() + 0.5 * cost.learnable_flops()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda x: LambdaSquared(beta=x), "beta"),
        (lambda x: FlopsBudget(share=0.5, proportional=x), "proportional"),
        (lambda x: FlopsBudget(share=0.5, integral=x), "integral"),
        (lambda x: FlopsBudget(share=0.5, cohesion=x), "cohesion"),
        (lambda x: FlopsBudget(share=0.5, descent=x), "descent"),
        (lambda x: FlopsBudget(share=0.5, leash=x), "leash"),
        (lambda x: FlopsBudget(flops_per_second=x), "flops_per_second"),
        (lambda x: FlopsBudget(share_of_all=x), "share_of_all"),
        (lambda x: FlopsBudget(share=x), "share"),
        (lambda x: LossTolerance(x), "tolerance"),
        (lambda x: LossTolerance(rate=x), "rate"),
        (lambda x: LossTolerance(memory=x), "memory"),
        (lambda x: LossTolerance(weight_min=x), "weight_min"),
        (lambda x: LossTolerance(weight_max=x), "weight_max"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(make: Any, name: str) -> None:
    for value in (-1.0, math.nan):
        with pytest.raises(SettingError, match=name):
            make(value)
