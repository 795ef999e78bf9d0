"""Pooling layers. They have no sizes that are learned."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from dyn_lightning.costs.base import ZERO, OpCost, numel
from dyn_lightning.graph import Op
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.layers import opaque, pooled
from dyn_lightning.graph.notes import Axes
from dyn_lightning.layers.declare import declare

_MAX, _AVERAGE = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d), (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_ADAPTIVE = (
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
)  # fmt: skip


def _trace(c: LayerCall) -> list[Axes]:
    return pooled(c.inputs[0], c.results) or opaque(c)


def _taps(module: Any) -> int:
    kernel, spatial = module.kernel_size, int(type(module).__name__[-2])
    return math.prod(kernel) if isinstance(kernel, tuple) else int(kernel**spatial)


def _pool(op: Op) -> OpCost:
    taps, outputs, average = _taps(op.module), numel(op.outputs[0]), isinstance(op.module, _AVERAGE)
    paper = ZERO if isinstance(op.module, (nn.MaxPool3d, nn.AvgPool3d)) else outputs * (taps if average else 1)
    return OpCost(outputs * (taps if average else taps - 1), paper)


def _power_pool(op: Op) -> OpCost:
    """A power of each tap, their sum, and a root."""
    return OpCost(numel(op.outputs[0]) * 2 * _taps(op.module))


def _adaptive_pool(op: Op) -> OpCost:
    published = isinstance(op.module, (nn.AdaptiveMaxPool1d, nn.AdaptiveAvgPool2d))
    return OpCost(numel(op.inputs[0]), numel(op.outputs[0]) if published else ZERO)


declare(*_MAX, *_AVERAGE, trace=_trace, price=_pool, features="each")
declare(nn.LPPool1d, nn.LPPool2d, trace=_trace, price=_power_pool, features="each")
declare(*_ADAPTIVE, trace=_trace, price=_adaptive_pool, features="each")
