"""Layers that treat each element by itself, or all of a dimension as a softmax does. They have no sizes."""

from __future__ import annotations

from typing import Any

from torch import nn

from dyn_lightning.costs.base import OpCost, numel
from dyn_lightning.costs.prices import ACTIVATIONS, PUBLISHED_ACTIVATIONS
from dyn_lightning.graph import Op
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.notes import Axes
from dyn_lightning.layers.declare import declare


def as_it_was(c: LayerCall) -> list[Axes]:
    """Every dimension stays what it is."""
    return [c.inputs[0]]


def _by_table(op: Op) -> OpCost:
    kind, elements = type(op.module).__name__, numel(op.outputs[0])
    return OpCost(ACTIVATIONS[kind] * elements, PUBLISHED_ACTIVATIONS.get(kind, 0) * elements)


def _softmax(op: Op) -> OpCost:
    module: Any = op.module
    x = op.inputs[0]
    dim = module.dim % len(x)
    return OpCost(ACTIVATIONS["Softmax"] * numel(x), 4 * numel(x) - numel(x[:dim]) * numel(x[dim + 1 :]))


def _free(op: Op) -> OpCost:
    return OpCost()


declare(
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.LogSigmoid,
    nn.Tanh, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Hardshrink, nn.Softshrink,
    nn.Tanhshrink, nn.Threshold, trace=as_it_was, price=_by_table, features="each",
)  # fmt: skip
declare(
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Identity,
    trace=as_it_was, price=_free, features="each",
)  # fmt: skip
declare(nn.Softmax2d, nn.LogSoftmax, nn.Softmin, trace=as_it_was, price=_by_table)
declare(nn.Softmax, trace=as_it_was, price=_softmax)
