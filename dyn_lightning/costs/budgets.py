"""Budgets of FLOPs: the three ways to state one, and what a cost is as a share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from dyn_lightning.checks import positive, within
from dyn_lightning.costs.allocation import learnable_share
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.costs.limits import Limit, above_in_words
from dyn_lightning.costs.uncounted import refuse_uncounted
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
    """How far a network's sizes as they are now exceed a budget of FLOPs, in words; None where they do not."""
    return None if budget is None else above_in_words(complexity.flops_now(), budget, complexity.unit)


class FlopsLimit(Limit):
    """A limit of FLOPs, stated in one of ``WAYS``.

    Args:
        share: see :func:`budget_in_flops`, as for the next two.
        share_of_all: one of the three.
        flops_per_second: one of the three.
        allow_uncounted: patterns of calls that may have no price (:func:`refuse_uncounted`).

    Raises:
        SettingError: as :func:`check_budget`; from ``at_most``, for any other call without a price.
    """

    def __init__(
        self,
        share: float | None = None,
        share_of_all: float | None = None,
        flops_per_second: float | None = None,
        allow_uncounted: Sequence[str] = (),
    ) -> None:
        check_budget(share, share_of_all, flops_per_second)
        given = zip(WAYS, (share, share_of_all, flops_per_second), strict=True)
        self.asked = {name: value for name, value in given if value is not None}
        self.allow_uncounted = tuple(allow_uncounted)

    def unit(self, complexity: Complexity) -> str:
        return complexity.unit

    def cost(self, complexity: Complexity, sizes: Mapping[str, Any]) -> Any:
        return complexity.flops_at(sizes)

    def at_most(self, complexity: Complexity) -> float:
        refuse_uncounted(complexity.uncounted, self.allow_uncounted)
        return budget_in_flops(complexity, **self.asked)

    def fixed(self, complexity: Complexity) -> float:
        return complexity.fixed_flops()

    def learnable_share(self, complexity: Complexity) -> Tensor:
        return learnable_share(complexity)

    def elasticities(self, complexity: Complexity) -> Tensor:
        return complexity.elasticities()
