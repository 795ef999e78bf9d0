"""Sizes by their cost: what fits a budget, and one factor on all of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dyn_lightning.costs.allocation import learnable_share, least_size, move_to, nearest_by_ratio, sizes_within
from tests.test_objectives import mlp, set_lams


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
        width.limit(multiple_of=multiple_of)
        width.limit(lam_min=1.0 / width.units)
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


@given(
    lams=st.tuples(st.floats(0.05, 1.0), st.floats(0.05, 1.0)),
    log_share=st.floats(-4.0, 0.0),
)
@settings(max_examples=60, deadline=None)
def test_move_to_finds_the_one_factor_on_all_sizes(lams: tuple[float, float], log_share: float) -> None:
    network = mlp()
    for width in network.widths.values():
        width.lam_min = 1e-3
    set_lams(network, *lams)
    before = [w.theta.item() for w in network.widths.values()]
    move_to(network, log_share)
    assert float(learnable_share(network.complexity).log().detach()) == pytest.approx(log_share, abs=2e-4)
    shifts = [w.theta.item() - t for w, t in zip(network.widths.values(), before, strict=True)]
    at_the_top = [w.theta.item() == 0.0 for w in network.widths.values()]
    assert any(at_the_top) or shifts[0] == pytest.approx(shifts[1], abs=1e-5)
    if any(at_the_top) and not all(at_the_top):
        limited, free = (shifts[at_the_top.index(state)] for state in (True, False))
        assert limited <= free + 1e-5


@pytest.mark.parametrize(("log_share", "lams"), [(0.0, (1.0, 1.0)), (-50.0, (0.5, 0.25))])
def test_move_to_stops_at_the_limits_of_lam(log_share: float, lams: tuple[float, float]) -> None:
    network = mlp()
    for width in network.widths.values():
        width.limit(lam_min=0.25)
    network.widths["0"].limit(lam_min=0.5)
    set_lams(network, 0.7, 0.6)
    move_to(network, log_share)
    assert [math.exp(w.theta.item()) for w in network.widths.values()] == pytest.approx(lams)
