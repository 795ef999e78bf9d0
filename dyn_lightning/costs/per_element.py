"""Cost of what treats elements alike: activations, norms, pooling, element-wise functions and reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dyn_lightning.costs.base import OpCost, function_name, numel, prices_functions
from dyn_lightning.costs.prices import (
    COMPLEX_PER_OUTPUT,
    FREE_FUNCTIONS,
    PER_INPUT,
    PER_OUTPUT,
)
from dyn_lightning.graph.polynomial import Polynomial

if TYPE_CHECKING:
    from dyn_lightning.graph import Op


@prices_functions("lppool1d", "lppool2d", "lppool3d")
def _functional_power_pool(op: Op) -> OpCost | None:
    return None if op.detail is None else OpCost(numel(op.outputs[0]) * 2 * op.detail)


@prices_functions(*(f"{kind}pool{n}d" for kind in ("max", "avg") for n in (1, 2, 3)))
def _functional_pool(op: Op) -> OpCost | None:
    if op.detail is None:
        return None
    taps = op.detail - op.kind.startswith("max")
    return OpCost(numel(op.outputs[0]) * taps)


@prices_functions("fractionalmaxpool2d", "fractionalmaxpool3d")
def _fractional_pool(op: Op) -> OpCost | None:
    """Regions of the kernel's size at places drawn by chance."""
    return None if op.detail is None else OpCost(numel(op.outputs[0]) * (op.detail - 1))


@prices_functions("gradient")
def _gradient(op: Op) -> OpCost:
    """For each dimension a difference of two neighbours, and a division."""
    return OpCost(2 * Polynomial.sum(map(numel, op.outputs)) * op.product_and_sum[1])


@prices_functions("parameter")
def _parameter(op: Op) -> OpCost:
    """A parameter that the network's code uses by itself: what is done with it is counted there."""
    return OpCost(params=numel(op.outputs[0]))


@prices_functions("buffer")
def _buffer(op: Op) -> OpCost:
    return OpCost()


def function_by_element(op: Op) -> OpCost | None:
    """Cost of a function from the tables of prices; None for one that they lack."""
    name = function_name(op.kind)
    if name in FREE_FUNCTIONS or not op.outputs:
        return OpCost()
    if name in PER_OUTPUT:
        return OpCost(_per_output(op, name) * numel(op.outputs[0]))
    if name in PER_INPUT and op.inputs:
        return OpCost(PER_INPUT[name] * (1 + any(op.complexes)) * numel(op.inputs[0]))
    return None


def _per_output(op: Op, name: str) -> int:
    if not any(op.complexes):
        return PER_OUTPUT[name]
    if name in ("mul", "multiply", "imul", "rmul"):
        return op.product_and_sum[0]
    if name in ("div", "divide", "truedivide", "truediv", "idiv"):
        # By a complex number: a product with its conjugate, its square, and two divisions.
        return 11 if len(op.complexes) > 1 and op.complexes[1] else 2
    return COMPLEX_PER_OUTPUT.get(name, 2 * PER_OUTPUT[name])
