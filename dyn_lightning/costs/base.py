"""The cost of an operation, sizes of its axes, and the table of formulas that the other files fill."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

from dyn_lightning.graph.polynomial import Polynomial
from dyn_lightning.registry import Registry

if TYPE_CHECKING:
    from dyn_lightning.graph import Axis, Op

ZERO = Polynomial({})


@dataclass(frozen=True)
class OpCost:
    """Cost of one operation: FLOPs of a call in both conventions, and parameters.

    ``counted`` is False where no formula is known for its kind: the FLOPs are then 0 and mean nothing.
    """

    flops_full: Polynomial = field(default_factory=lambda: Polynomial({}))
    flops_paper: Polynomial = field(default_factory=lambda: Polynomial({}))
    params: Polynomial = field(default_factory=lambda: Polynomial({}))
    counted: bool = True

    def __add__(self, other: OpCost) -> OpCost:
        return OpCost(
            self.flops_full + other.flops_full,
            self.flops_paper + other.flops_paper,
            self.params + other.params,
            self.counted and other.counted,
        )


Formula = Callable[["Op"], OpCost | None]
"""What an operation of one kind costs; None where it depends on something that an Op does not tell."""

MODULES: Registry[type[nn.Module], Formula] = Registry("price")
FUNCTIONS: Registry[str, Formula] = Registry("price")


def prices_functions(*names: str) -> Callable[[Formula], Formula]:
    """Register the formula of functions and methods with these names, written as `function_name` does.

    Raises SettingError where one of them has a price already.
    """

    def register(formula: Formula) -> Formula:
        for name in names:
            FUNCTIONS.add(name, formula, by=formula)
        return formula

    return register


def function_name(kind: str) -> str:
    """A function's name as the tables have it: ``add_``, ``__add__``, ``add.Tensor`` → add; leaky_relu → leakyrelu."""
    return kind.partition(".")[0].replace("_", "").lower()


def size(axis: Axis) -> Polynomial:
    """Size of one tensor dimension: the product of its factors, a concatenation being the sum of its parts."""
    total = Polynomial.constant(1)
    for factor in axis:
        if isinstance(factor, int):
            total = total * factor
        elif hasattr(factor, "parts"):
            total = total * sum(map(size, factor.parts), start=Polynomial({}))
        else:
            total = total * Polynomial.variable(factor)
    return total


def numel(axes: Sequence[Axis]) -> Polynomial:
    """Number of elements of a tensor with these dimensions."""
    return math.prod((size(axis) for axis in axes), start=Polynomial.constant(1))


def full_size(axis: Axis) -> int:
    return math.prod(factor if isinstance(factor, int) else factor.full_size for factor in axis)


def has_bias(module: Any) -> bool:
    return module.bias is not None and module.bias is not False
