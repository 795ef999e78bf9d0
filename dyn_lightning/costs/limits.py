"""Limits of what a network may cost: of any cost that is a function of its sizes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dyn_lightning.checks import positive, proper_share
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.errors import SettingError


class Limit(ABC):
    """The most that a network may cost, in one unit. :class:`FlopsBudget` ends at it or below.

    A subclass says ``cost``, ``unit`` and ``at_most``; all else follows from these.

    Attributes:
        asked: the limit as it was stated: name → number.
    """

    asked: Mapping[str, float]

    @abstractmethod
    def unit(self, complexity: Complexity) -> str:
        """What the cost is counted in."""

    @abstractmethod
    def cost(self, complexity: Complexity, sizes: Mapping[str, Any]) -> Any:
        """What a network of these sizes costs.

        Args:
            complexity: of the network: its FLOPs, parameters, and full sizes.
            sizes: elements of each Width by its name: integers, which give a number; or real numbers, each a 0-d
                tensor, which give a 0-d tensor with their gradient.
        """

    @abstractmethod
    def at_most(self, complexity: Complexity) -> float:
        """The limit, in the unit. Raises SettingError where the network's cost is not all known."""

    def fixed(self, complexity: Complexity) -> float:
        """The part of the cost that no size governs."""
        return 0.0

    def full(self, complexity: Complexity) -> float:
        """What the network costs as it was given."""
        return float(self.cost(complexity, complexity.full_sizes))

    def learnable_share(self, complexity: Complexity) -> Tensor:
        """What the sizes govern at real-valued K, over the same at full size: 0-d, with λ's gradient."""
        return self._share(complexity, {name: width.lam for name, width in complexity.widths.items()})

    def elasticities(self, complexity: Complexity) -> Tensor:
        """∂ log(learnable share) / ∂ log K of each Width, (widths,), at the real-valued sizes K."""
        with torch.enable_grad():
            lam = {name: width.lam.detach().requires_grad_() for name, width in complexity.widths.items()}
            slopes = torch.autograd.grad(self._share(complexity, lam).log(), list(lam.values()), allow_unused=True)
        found = zip(slopes, lam.values(), strict=True)
        return torch.stack([torch.zeros_like(x) if d is None else d * x.detach() for d, x in found])

    def _share(self, complexity: Complexity, lam: Mapping[str, Tensor]) -> Tensor:
        sizes = {name: lam[name] * full for name, full in complexity.full_sizes.items()}
        fixed = self.fixed(complexity)
        share: Tensor = (self.cost(complexity, sizes) - fixed) / (self.full(complexity) - fixed)
        return share

    def above(self, complexity: Complexity) -> str | None:
        """How far the sizes as they are now exceed the limit, in words; None where they do not."""
        cost = float(self.cost(complexity, complexity.sizes_now))
        return above_in_words(cost, self.at_most(complexity), self.unit(complexity))


class Parameters(Limit):
    """A limit of parameters.

    Args:
        at_most: their number.
        share_of_all: instead, a share of the backbone's own, in (0, 1).

    Raises:
        SettingError: unless one of them is given.
    """

    def __init__(self, at_most: float | None = None, share_of_all: float | None = None) -> None:
        if (at_most is None) == (share_of_all is None):
            raise SettingError("give a limit of parameters either as at_most or as share_of_all")
        if at_most is not None:
            positive(at_most=at_most)
            self.asked = {"parameters": at_most}
        else:
            proper_share(share_of_all=share_of_all)
            self.asked = {"share_of_all_parameters": share_of_all or 0.0}

    def unit(self, complexity: Complexity) -> str:
        return "parameters"

    def cost(self, complexity: Complexity, sizes: Mapping[str, Any]) -> Any:
        return complexity.parameters(sizes)

    def at_most(self, complexity: Complexity) -> float:
        number = self.asked.get("parameters")
        return self.asked["share_of_all_parameters"] * self.full(complexity) if number is None else number

    def fixed(self, complexity: Complexity) -> float:
        return complexity.fixed_parameters()


def above_in_words(cost: float, limit: float, unit: str) -> str | None:
    """How far a cost exceeds a limit; None where it does not."""
    if cost <= limit * (1 + 1e-9):
        return None
    unit = unit.replace("_", " ").replace("flops", "FLOPs")
    return f"ABOVE ITS BUDGET: {cost:.4g} {unit}, {cost / limit:.3g} times the {limit:.4g} that were asked for"
