"""Sizes from curves: hulls and allocations in closed form, and against all allocations there are."""

import itertools

import pytest
import torch
from torch import nn

from dyn_lightning.costs.curves import lower_hull, sizes_from_curves
from dyn_lightning.dynamize import dynamize
from dyn_lightning.errors import SettingError


def test_the_hull_is_the_largest_convex_function_below():
    assert lower_hull([(4, 0.0), (1, 3.0), (2, 1.0), (3, 0.9)]) == [(1, 3.0), (2, 1.0), (4, 0.0)]
    assert lower_hull([(1, 0.0), (2, 2.0), (3, 0.0)]) == [(1, 0.0), (3, 0.0)]
    assert lower_hull([(5, 1.0)]) == [(5, 1.0)]
    assert lower_hull([(1, 2.0), (1, 3.0), (2, 1.0)]) == [(1, 2.0), (2, 1.0)]


def branches():
    """Two sizes that share no weight, each FLOP of equal worth: 2·(3 + 1)·k and a bias."""

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = (nn.Sequential(nn.Linear(3, 12), nn.ReLU(), nn.Linear(12, 1)) for _ in range(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x) + self.b(x)  # type: ignore[no-any-return]

    return dynamize(Sum(), torch.randn(1, 3))


def test_where_sizes_cost_alike_slopes_are_made_equal():
    net = branches()
    names, cost = list(net.widths), net.complexity
    # losses a / k: at the optimum of k₁ + k₂ = K they go as √a, here 3 : 1 (within the hull's straight lines)
    curves = {n: [(k, a / k) for k in range(1, 13)] for n, a in zip(names, (9.0, 1.0), strict=True)}
    budget = cost.flops_at(dict.fromkeys(names, 4))
    sizes, expected = sizes_from_curves(cost, curves, budget)
    assert sizes == dict(zip(names, (6, 2), strict=True))
    assert expected == pytest.approx(9 / 6 + 1 / 2)


def test_as_good_as_any_of_all_allocations():
    torch.manual_seed(0)
    net = dynamize(
        nn.Sequential(
            nn.Linear(3, 7), nn.ReLU(), nn.Linear(7, 9), nn.ReLU(), nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 1)
        ),
        torch.randn(1, 3),
    )
    cost, full = net.complexity, net.complexity.full_sizes
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        worth = {n: float(torch.rand((), generator=generator)) + 0.1 for n in full}
        curves = {n: [(k, worth[n] * (1 / k - 1 / size)) for k in range(1, size + 1)] for n, size in full.items()}
        for share in (0.5, 0.2):
            budget = cost.fixed_flops() + share * cost.learnable_flops()
            sizes, expected = sizes_from_curves(cost, curves, budget)
            assert cost.flops_at(sizes) <= budget
            every = itertools.product(*(range(1, size + 1) for size in full.values()))
            losses = [
                sum(worth[n] * (1 / k - 1 / full[n]) for n, k in zip(full, ks, strict=True))
                for ks in every
                if cost.flops_at(dict(zip(full, ks, strict=True))) <= budget
            ]
            assert expected <= 1.002 * min(losses)
            assert expected >= min(losses) - 1e-9


def test_units_and_least_sizes_hold():
    net = branches()
    first, second = net.widths.values()
    first.limit(multiple_of=4)
    second.lam_min = 0.5
    cost, names = net.complexity, list(net.widths)
    curves = {names[0]: [(4, 1.0), (12, 0.0)], names[1]: [(6, 0.0), (12, 0.0)]}
    sizes, _ = sizes_from_curves(cost, curves, cost.flops_at(dict(zip(names, (9, 6), strict=True))))
    assert sizes == dict(zip(names, (8, 6), strict=True))
    with pytest.raises(SettingError, match="is out of reach: the least sizes cost"):
        sizes_from_curves(cost, curves, cost.flops_at(dict(zip(names, (2, 6), strict=True))))
    with pytest.raises(SettingError, match="missing or unknown: "):
        sizes_from_curves(cost, {}, 1e9)
