"""Sizes by what they cost: the share of the FLOPs that widths leave, and sizes that fit a budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.errors import SettingError
from dyn_lightning.widths.width import Width

if TYPE_CHECKING:
    from dyn_lightning.costs.limits import Limit

REACH = 20.0
"""Amount of θ beyond which nothing is left to gain."""


class Costed(Protocol):
    """What has a cost that hangs on its widths: a dynamic network."""

    @property
    def complexity(self) -> Complexity: ...


def learnable_share(complexity: Complexity) -> Tensor:
    """FLOPs that the widths govern, at real-valued K, over the same at full size: 0-d, with λ's gradient."""
    return (complexity.flops_per_second() - complexity.fixed_flops()) / complexity.learnable_flops()


def least_size(width: Width) -> int:
    """Elements of a width at its λ_min, at least one unit."""
    units = max(1, math.ceil(width.lam_min * width.units - 1e-6))
    return min(units * width.multiple_of, width.full_size)


def sizes_within(dynamic: Costed, budget: float, limit: Limit | None = None) -> dict[str, int]:
    """Whole-unit sizes next to the learned K that cost at most ``budget`` and use it up to 1 %, or to the finest unit.

    Each K is rounded to the unit that is nearest by ratio, after one factor on all of them (1 at most) that makes the
    cost fit; then sizes go up unit by unit, each time where that brings a size nearest to its K. Rounding down would
    take most from the smallest: a K of 1.8 is 2 units, not 1.

    Args:
        dynamic: a dynamic network.
        budget: the most that the sizes may cost.
        limit: what counts as cost, and its unit; None: FLOPs, in the complexity's unit.

    Raises:
        SettingError: if the least sizes cost more than the budget.
    """
    complexity, widths = dynamic.complexity, dynamic.complexity.widths
    k = {name: float(width.k.detach()) for name, width in widths.items()}

    def cost(sizes: Mapping[str, int]) -> float:
        return complexity.flops_at(sizes) if limit is None else float(limit.cost(complexity, sizes))

    def scaled(factor: float) -> dict[str, int]:
        sizes = {}
        for name, width in widths.items():
            units = nearest_by_ratio(k[name] * factor / width.multiple_of)
            sizes[name] = min(max(units * width.multiple_of, least_size(width)), width.full_size)
        return sizes

    low, high = 0.0, 1.0
    if cost(scaled(low)) > budget:
        unit = (complexity.unit if limit is None else limit.unit(complexity)).replace("_", " ")
        raise SettingError(
            f"a budget of {budget:.4g} {unit} is out of reach: the least sizes cost {cost(scaled(low)):.4g}"
        )
    if cost(scaled(1.0)) <= budget:
        low = 1.0
    else:
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if cost(scaled(middle)) <= budget else (low, middle)
    sizes = scaled(low)
    while cost(sizes) < 0.995 * budget:
        steps = []
        for name, width in widths.items():
            grown = min(sizes[name] + width.multiple_of, width.full_size)
            trial = {**sizes, name: grown}
            if grown > sizes[name] and cost(trial) <= budget:
                gain = math.log(sizes[name] / k[name]) ** 2 - math.log(grown / k[name]) ** 2
                steps.append((-gain, name, trial))
        if not steps:
            break
        sizes = min(steps)[2]
    return sizes


def nearest_by_ratio(k: float) -> int:
    """The positive integer whose ratio to k ≥ 0, or that of k to it, is smallest: n + 1 from √(n(n + 1)) on."""
    below = max(1, math.floor(k))
    return below + (k * k > below * (below + 1))


@torch.no_grad()
def move_to(dynamic: Costed, log_share: float, tolerance: float = 1e-4, limit: Limit | None = None) -> None:
    """Move every θ by one amount, within its limits, so that the learnable FLOPs are a share of those at full size.

    θ is log λ: all sizes grow or shrink by one factor, so that what the widths have found out about each other stays.
    (Of gates, it is what opens them.) Where the limits of λ do not let the cost get there, it comes as near as it can.

    Args:
        dynamic: a dynamic network.
        log_share: log of the share.
        tolerance: of the log, by which the cost may stay below.
        limit: of which cost; None: FLOPs.
    """
    widths: Sequence[Width] = list(dynamic.complexity.widths.values())
    start = [width.theta.clone() for width in widths]

    def excess(shift: float) -> float:
        for width, theta in zip(widths, start, strict=True):
            width.theta.copy_(theta + shift)
            width.clamp_()
        share = learnable_share if limit is None else limit.learnable_share
        return float(share(dynamic.complexity).log()) - log_share

    low, high, step = 0.0, 0.0, 0.1
    below = above = excess(0.0)
    while below > 0.0 and low > -REACH:
        high, above, low, step = low, below, low - step, 2.0 * step
        below = excess(low)
    while above <= 0.0 and high < REACH:
        low, below, high, step = high, above, high + step, 2.0 * step
        above = excess(high)
    straight = True
    while high - low > tolerance and below < -tolerance and above > 0.0:
        # Where a straight line crosses, as the cost is nearly a power of the factor; then half way, as it has kinks.
        share = min(0.98, max(0.02, -below / (above - below))) if straight else 0.5
        middle, straight = low + share * (high - low), not straight
        if (value := excess(middle)) <= 0.0:
            low, below = middle, value
        else:
            high, above = middle, value
    excess(low if above > 0.0 else high)
