"""Cost of what treats elements alike: activations, norms, pooling, element-wise functions and reductions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dyn_lightning.costs.base import ZERO, OpCost, function_name, numel, prices_functions, prices_modules, size
from dyn_lightning.costs.prices import (
    ACTIVATIONS,
    COMPLEX_PER_OUTPUT,
    FREE_FUNCTIONS,
    FREE_MODULES,
    PER_INPUT,
    PER_OUTPUT,
    PUBLISHED_ACTIVATIONS,
    SOFTMAX,
)
from dyn_lightning.graph.polynomial import Polynomial

if TYPE_CHECKING:
    from dyn_lightning.graph import Op


@prices_modules("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")
def _batch_norm(op: Op) -> OpCost:
    module: Any = op.module
    x, channels = op.inputs[0], size(op.inputs[0][1])
    statistics = numel(x) * (7 if module.affine else 5) + 4 * channels
    # With running statistics all but one product and one sum are done once a channel.
    running = numel(x) * 2 + channels * (5 if module.affine else 3)
    full = running if module.track_running_stats else statistics
    return OpCost(full, ZERO if op.kind == "BatchNorm3d" else statistics, 2 * channels * bool(module.affine))


@prices_modules("LayerNorm", "RMSNorm")
def _layer_norm(op: Op) -> OpCost:
    module: Any = op.module
    x, n_dims = op.inputs[0], len(module.normalized_shape)
    affine = bool(module.elementwise_affine) + (getattr(module, "bias", None) is not None)
    params = affine * numel(x[len(x) - n_dims :])
    if op.kind == "RMSNorm":
        return OpCost((3 + affine) * numel(x) + 3 * numel(x[:-n_dims]), ZERO, params)
    flops = (5 + affine) * numel(x) + 4 * numel(x[:-n_dims])
    return OpCost(flops, flops, params)


@prices_modules("GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d")
def _group_norm(op: Op) -> OpCost:
    module: Any = op.module
    x = op.inputs[0]
    channel = 1 if op.kind == "GroupNorm" else -1 - int(op.kind[-2])
    channels = size(x[channel])
    each = op.kind != "GroupNorm" or module.num_groups == module.num_channels  # a group for each channel
    groups = channels if each else Polynomial.constant(module.num_groups)
    flops = (5 + 2 * bool(module.affine)) * numel(x) + 4 * numel(x[:channel]) * groups
    return OpCost(flops, ZERO, 2 * channels * bool(module.affine))


@prices_modules("MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d")
def _pool(op: Op) -> OpCost:
    module: Any = op.module
    kernel = module.kernel_size
    taps = math.prod(kernel) if isinstance(kernel, tuple) else kernel ** int(op.kind[-2])
    outputs = numel(op.outputs[0])
    average = op.kind.startswith("Avg")
    paper = ZERO if op.kind.endswith("3d") else outputs * (taps if average else 1)
    return OpCost(outputs * (taps if average else taps - 1), paper)


@prices_modules("LPPool1d", "LPPool2d", "LPPool3d")
def _power_pool(op: Op) -> OpCost:
    """A power of each tap, their sum, and a root."""
    module: Any = op.module
    kernel = module.kernel_size
    taps = math.prod(kernel) if isinstance(kernel, tuple) else kernel ** int(op.kind[-2])
    return OpCost(numel(op.outputs[0]) * 2 * taps)


@prices_functions("lppool1d", "lppool2d", "lppool3d")
def _functional_power_pool(op: Op) -> OpCost | None:
    return None if op.detail is None else OpCost(numel(op.outputs[0]) * 2 * op.detail)


@prices_modules(*(f"Adaptive{kind}Pool{n}d" for kind in ("Avg", "Max") for n in (1, 2, 3)))
def _adaptive_pool(op: Op) -> OpCost:
    published = op.kind in ("AdaptiveMaxPool1d", "AdaptiveAvgPool2d")
    return OpCost(numel(op.inputs[0]), numel(op.outputs[0]) if published else ZERO)


@prices_modules("Softmax")
def _softmax(op: Op) -> OpCost:
    module: Any = op.module
    x = op.inputs[0]
    dim = module.dim % len(x)
    return OpCost(SOFTMAX * numel(x), 4 * numel(x) - numel(x[:dim]) * numel(x[dim + 1 :]))


@prices_modules("PReLU")
def _prelu(op: Op) -> OpCost:
    module: Any = op.module
    params = Polynomial.constant(1) if module.num_parameters == 1 else size(op.inputs[0][1])
    flops = ACTIVATIONS["PReLU"] * numel(op.outputs[0])
    return OpCost(flops, flops, params)


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


def activation(op: Op) -> OpCost | None:
    """Cost of a layer without parameters from the tables of prices; None for one that they lack."""
    if op.kind in FREE_MODULES:
        return OpCost()
    if op.kind not in ACTIVATIONS:
        return None
    elements = numel(op.outputs[0])
    return OpCost(ACTIVATIONS[op.kind] * elements, PUBLISHED_ACTIVATIONS.get(op.kind, 0) * elements)


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
