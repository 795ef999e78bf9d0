"""Budgets of FLOPs: the three ways to state one, and what a cost is as a share."""

from __future__ import annotations

from collections.abc import Mapping

from dyn_lightning.checks import positive, within
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.errors import SettingError

WAYS = ("share", "share_of_all", "flops_per_second")
"""How a budget is stated: exactly one of these."""


def check_budget(
    share: float | None = None, share_of_all: float | None = None, flops_per_second: float | None = None
) -> None:
    """Raises SettingError unless exactly one is given, and is one: shares in (0, 1], FLOPs positive and finite."""
    given = {
        name: value
        for name, value in zip(WAYS, (share, share_of_all, flops_per_second), strict=True)
        if value is not None
    }
    if len(given) != 1:
        told = " and ".join(given) or "none"
        raise SettingError(f"give a budget as one of {', '.join(WAYS)}: {told} given")
    for name, value in given.items():
        if name == "flops_per_second":
            positive(flops_per_second=value)
        else:
            within(0.0, 1.0, **{name: value})
            positive(**{name: value})


def budget_in_flops(
    complexity: Complexity,
    *,
    share: float | None = None,
    share_of_all: float | None = None,
    flops_per_second: float | None = None,
) -> float:
    """A budget in the complexity's unit, all that runs included.

    Args:
        complexity: of the network.
        share: of the FLOPs that the sizes govern; what is fixed comes on top.
        share_of_all: of all FLOPs at full size.
        flops_per_second: the budget itself (per call for a network without a duration).

    Raises:
        SettingError: as :func:`check_budget`.
    """
    check_budget(share, share_of_all, flops_per_second)
    if flops_per_second is not None:
        return flops_per_second
    if share_of_all is not None:
        return share_of_all * complexity.flops_full_size()
    assert share is not None
    return complexity.fixed_flops() + share * complexity.learnable_flops()


def share_of_all(complexity: Complexity, sizes: Mapping[str, int]) -> float:
    """What a network of these sizes costs, over its cost at full size."""
    full = complexity.flops_full_size()
    return complexity.flops_at(sizes) / full if full else 1.0


def share_of_learnable(complexity: Complexity, sizes: Mapping[str, int]) -> float:
    """FLOPs that the sizes govern, over the same at full size; 1 where they govern none."""
    learnable = complexity.learnable_flops()
    return (complexity.flops_at(sizes) - complexity.fixed_flops()) / learnable if learnable else 1.0


def told_above(budget: float | None, complexity: Complexity) -> str | None:
    """How far a network's sizes as they are now exceed a budget, in words; None where they do not."""
    cost = complexity.flops_now()
    if budget is None or cost <= budget * (1 + 1e-9):
        return None
    unit = complexity.unit.replace("_", " ").replace("flops", "FLOPs")
    return f"ABOVE ITS BUDGET: {cost:.4g} {unit}, {cost / budget:.3g} times the {budget:.4g} that were asked for"
