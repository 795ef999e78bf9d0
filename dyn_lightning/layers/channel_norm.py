"""Norms of each channel by itself, able to follow Widths. They produce no size of their own."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.costs.base import ZERO, OpCost, numel, size
from dyn_lightning.graph import Op, normal
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.notes import Axes
from dyn_lightning.graph.polynomial import Polynomial
from dyn_lightning.layers.base import ALIKE, DynamicLayer
from dyn_lightning.modules.kinds import describes
from dyn_lightning.widths.layout import Layout


class _ChannelNorm(DynamicLayer):
    """A layer with one entry per channel in each of its parameters and buffers."""

    sizes = {"num_features": "in_width"}
    by_hand: ClassVar[Mapping[str, tuple[str | None, ...]]] = dict.fromkeys(
        ("weight", "bias", "running_mean", "running_var"), ("in_width",)
    )
    made = ()
    features = "normed"

    def layouts(self) -> dict[str, tuple[Layout | None, ...]]:
        tensors = {**self._parameters, **self._buffers}
        return {name: (self.in_width,) for name, t in tensors.items() if t is not None and t.dim() == 1}


def follow_channels(c: LayerCall, at: int) -> list[Axes]:
    """Bind ``in_width`` to a dimension, and with it all parameters and buffers that have an entry a channel."""
    x = c.inputs[0]
    c.bind(in_width=x[at])
    for tensor in (*c.module._parameters.values(), *c.module._buffers.values()):
        if tensor is not None and tensor.dim() == 1:
            c.t.own(tensor, (x[at],), c.reason)
    return [tuple(map(normal, x))]


class _BatchNorm(_ChannelNorm):
    @staticmethod
    def trace(c: LayerCall) -> list[Axes]:
        return follow_channels(c, min(1, len(c.inputs[0]) - 1))

    @staticmethod
    def price(op: Op) -> OpCost:
        module: Any = op.module
        x, channels = op.inputs[0], size(op.inputs[0][1])
        statistics = numel(x) * (7 if module.affine else 5) + 4 * channels
        # With running statistics all but one product and one sum are done once a channel.
        running = numel(x) * 2 + channels * (5 if module.affine else 3)
        full = running if module.track_running_stats else statistics
        paper = ZERO if isinstance(module, nn.BatchNorm3d) else statistics
        return OpCost(full, paper, 2 * channels * bool(module.affine))

    def forward(self, input: Tensor) -> Tensor:
        me: Any = self
        me._check_input_dim(input)
        batch_statistics = self.training or me.running_mean is None
        momentum = me.momentum
        if self.training and me.track_running_stats:
            me.num_batches_tracked.add_(1)
            if momentum is None:
                momentum = 1.0 / float(me.num_batches_tracked)
        mean, variance = self.cut("running_mean"), self.cut("running_var")
        weight, bias = self.cut("weight"), self.cut("bias")
        folds = self.folds_noise and weight is not None
        if folds:
            weight, bias = self.fade(weight, bias)
        y = F.batch_norm(input, mean, variance, weight, bias, batch_statistics, momentum or 0.0, me.eps)
        _write_back(self, mean, variance)
        return self.noise_(y, 1) if folds else self.noise(y, 1)


def _write_back(layer: Any, mean: Tensor | None, variance: Tensor | None) -> None:
    # A prefix is a view that the norm has updated in place; any other choice of channels is a copy.
    for name, new in (("running_mean", mean), ("running_var", variance)):
        full = layer._buffers[name]
        if new is None or full is None or not layer.training or layer.in_width is None:
            continue
        if new.data_ptr() != full.data_ptr():
            full.index_copy_(0, layer.in_width.indices(device=full.device), new)


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """torch.nn.BatchNorm1d that follows a width. Shapes: (batch, channels[, time]), unchanged."""

    plain_class = nn.BatchNorm1d


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """torch.nn.BatchNorm2d that follows a width. Shapes: (batch, channels, height, width), unchanged."""

    plain_class = nn.BatchNorm2d


class BatchNorm3d(_BatchNorm, nn.BatchNorm3d):
    """torch.nn.BatchNorm3d that follows a width. Shapes: (batch, channels, depth, height, width), unchanged."""

    plain_class = nn.BatchNorm3d


class _InstanceNorm(_ChannelNorm):
    _spatial: int

    @staticmethod
    def trace(c: LayerCall) -> list[Axes]:
        return follow_channels(c, len(c.inputs[0]) - 1 - _spatial(c.module))

    @staticmethod
    def price(op: Op) -> OpCost:
        channel = -1 - _spatial(op.module)
        return group_norm_price(op, channel, size(op.inputs[0][channel]))

    def forward(self, input: Tensor) -> Tensor:
        me: Any = self
        me._check_input_dim(input)
        dim = input.dim() - 1 - me._spatial
        x = input if dim else input.unsqueeze(0)
        mean, variance = self.cut("running_mean"), self.cut("running_var")
        own = self.training or not me.track_running_stats
        y = F.instance_norm(x, mean, variance, self.cut("weight"), self.cut("bias"), own, me.momentum or 0.0, me.eps)
        _write_back(self, mean, variance)
        y = self.noise(y, 1)
        return y if dim else y.squeeze(0)


def _spatial(norm: Any) -> int:
    return next(
        n
        for n, kind in enumerate((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), 1)
        if isinstance(norm, kind)
    )


def group_norm_price(op: Op, channel: int, groups: Polynomial) -> OpCost:
    """Mean and variance of each of so many groups, and what is done to each element."""
    module: Any = op.module
    x, affine = op.inputs[0], bool(module.affine)
    flops = (5 + 2 * affine) * numel(x) + 4 * numel(x[:channel]) * groups
    return OpCost(flops, ZERO, 2 * size(x[channel]) * affine)


class InstanceNorm1d(_InstanceNorm, nn.InstanceNorm1d):
    """torch.nn.InstanceNorm1d that follows a width. Shapes: (batch, channels, time), unchanged."""

    plain_class = nn.InstanceNorm1d
    _spatial = 1


class InstanceNorm2d(_InstanceNorm, nn.InstanceNorm2d):
    """torch.nn.InstanceNorm2d that follows a width. Shapes: (batch, channels, height, width), unchanged."""

    plain_class = nn.InstanceNorm2d
    _spatial = 2


class InstanceNorm3d(_InstanceNorm, nn.InstanceNorm3d):
    """torch.nn.InstanceNorm3d that follows a width. Shapes: (batch, channels, depth, height, width), unchanged."""

    plain_class = nn.InstanceNorm3d
    _spatial = 3


describes(nn.SyncBatchNorm)
ALIKE[nn.SyncBatchNorm] = BatchNorm1d
