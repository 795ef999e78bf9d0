"""Objectives: formulas by hand, and controllers against simulated losses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dyn_lightning.dynamize import dynamize
from dyn_lightning.objectives import (
    FlopsBudget,
    FlopsTerm,
    LambdaSquared,
    LossTolerance,
    learnable_share,
    least_size,
    nearest_by_ratio,
    sizes_within,
)


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


def test_flops_term_is_the_share_of_learnable_flops() -> None:
    network = mlp()
    assert FlopsTerm(0.3)(network, zero(), 0.0).item() == pytest.approx(0.3, rel=1e-5)
    set_lams(network, 0.5, 0.5)
    cost = network.complexity
    by_hand = (cost.flops_at({"0": 32, "2": 16}) - cost.fixed_flops()) / cost.learnable_flops()
    assert learnable_share(cost).item() == pytest.approx(by_hand, rel=1e-5)


@given(
    lams=st.tuples(st.floats(0.05, 1.0), st.floats(0.05, 1.0)),
    share=st.floats(0.02, 0.95),
    multiple_of=st.sampled_from([1, 4]),
)
@settings(max_examples=80, deadline=None)
def test_sizes_within_fill_the_budget_and_never_exceed_it(
    lams: tuple[float, float], share: float, multiple_of: int
) -> None:
    network = NETWORK
    for width in network.widths.values():
        width.set_multiple_of(multiple_of)
        width.lam_min = 1.0 / width.units
    set_lams(network, *lams)
    cost = network.complexity
    budget = cost.fixed_flops() + share * cost.learnable_flops()
    least = cost.flops_at({name: least_size(w) for name, w in network.widths.items()})
    if budget < least:
        with pytest.raises(ValueError, match="least"):
            sizes_within(network, budget)
        return
    sizes = sizes_within(network, budget)
    assert cost.flops_at(sizes) <= budget
    assert all(s % multiple_of == 0 for s in sizes.values())
    room = [
        cost.flops_at({**sizes, name: sizes[name] + multiple_of}) > budget
        for name, w in network.widths.items()
        if sizes[name] < w.full_size
    ]
    assert cost.flops_at(sizes) >= 0.99 * budget or all(room)


NETWORK = mlp()


def test_sizes_within_keep_the_learned_proportions() -> None:
    network = mlp()
    set_lams(network, 0.5, 0.125)
    cost = network.complexity
    sizes = sizes_within(network, cost.flops_at({"0": 32, "2": 4}) + 1.0)
    assert sizes == {"0": 32, "2": 4}


def test_sizes_are_rounded_to_the_nearest_by_ratio() -> None:
    for hundredths in range(1, 1000):
        k = hundredths / 100
        nearest = min(range(1, 12), key=lambda n: max(n / k, k / n))
        assert nearest_by_ratio(k) == nearest, k


def test_the_smallest_sizes_do_not_pay_for_the_rounding() -> None:
    """Rounding down would leave one element of 1.8, and give what that saves to the other size."""
    network = mlp()
    set_lams(network, 30.4 / 64, 1.8 / 32)
    sizes = sizes_within(network, float(network.complexity.flops_per_second().detach()))
    assert sizes == {"0": 30, "2": 2}


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
    assert float(cost.flops_per_second()) == pytest.approx(budget, rel=0.15), "the controller itself gets near"
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


def test_budget_in_flops_is_the_whole_cost() -> None:
    network = mlp()
    cost = network.complexity
    objective = FlopsBudget(flops_per_second=0.4 * cost.flops_full_size())
    assert cost.flops_at(objective.final_sizes(network)) <= 0.4 * cost.flops_full_size()


def test_descent_must_take_some_of_the_search() -> None:
    with pytest.raises(ValueError, match="descent"):
        FlopsBudget(share=0.5, descent=0.0)


def test_cohesion_pulls_widths_together_without_changing_their_mean() -> None:
    network, objective = mlp(), FlopsBudget(share=0.5, proportional=0.0, integral=0.0, cohesion=3.0)
    set_lams(network, 0.8, 0.2)
    objective(network, torch.tensor(0.5), 0.0).backward()
    first, second = (w.theta.grad.item() for w in network.widths.values())
    distance = math.log(0.8 / 0.2) / 2
    assert first == pytest.approx(3.0 * 0.5 * 2 * distance, rel=1e-4)
    assert second == pytest.approx(-first, rel=1e-4)


def test_budget_out_of_reach_names_the_least() -> None:
    network = mlp()
    for width in network.widths.values():
        width.lam_min = 0.5
    least = network.complexity.flops_at({"0": 32, "2": 16})
    with pytest.raises(ValueError, match=f"{least:.4g}.*lam_min"):
        FlopsBudget(share=0.01).check(network)


def test_budget_above_full_size_is_refused() -> None:
    network = mlp()
    with pytest.raises(ValueError, match="leaves nothing to do"):
        FlopsBudget(flops_per_second=2 * network.complexity.flops_full_size()).check(network)


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
