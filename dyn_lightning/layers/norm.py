"""Norms and per-channel activations able to follow Widths. They produce no size of their own."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.layers.base import DynamicLayer, Size, kept
from dyn_lightning.width import Layout


class _Follower(DynamicLayer):
    """A layer with one entry per channel in each of its parameters and buffers."""

    def __init__(self, *args: Any, in_width: Size | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bind(in_width=in_width)

    def layouts(self) -> dict[str, tuple[Layout | None, ...]]:
        tensors = {**self._parameters, **self._buffers}
        return {name: (self.in_width,) for name, t in tensors.items() if t is not None and t.dim() == 1}


class _BatchNorm(_Follower):
    def plain_sizes(self) -> dict[str, Any]:
        return {"num_features": kept(self.in_width, self.num_features)}

    num_features: int

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
        y = F.batch_norm(
            input,
            mean,
            variance,
            self.cut("weight"),
            self.cut("bias"),
            batch_statistics,
            momentum or 0.0,
            me.eps,
        )
        self._write_back(mean, variance)
        return y

    def _write_back(self, mean: Tensor | None, variance: Tensor | None) -> None:
        # A prefix is a view that batch_norm has updated in place; any other choice of channels is a copy.
        for name, new in (("running_mean", mean), ("running_var", variance)):
            full = self._buffers[name]
            if new is None or full is None or not self.training or self.in_width is None:
                continue
            if new.data_ptr() != full.data_ptr():
                index = self.in_width.indices([w.current for w in self.in_width.widths], full.device)
                full.index_copy_(0, index, new)


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """torch.nn.BatchNorm1d that follows a width. Shapes: (batch, channels[, time]), unchanged."""

    plain_class = nn.BatchNorm1d


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """torch.nn.BatchNorm2d that follows a width. Shapes: (batch, channels, height, width), unchanged."""

    plain_class = nn.BatchNorm2d


class LayerNorm(_Follower, nn.LayerNorm):
    """torch.nn.LayerNorm over the elements in use of the last dimension, which follows a width.

    Shapes: (…, features), unchanged.
    """

    plain_class = nn.LayerNorm

    def plain_sizes(self) -> dict[str, Any]:
        return {"normalized_shape": (kept(self.in_width, self.normalized_shape[0]),)}

    def forward(self, input: Tensor) -> Tensor:
        shape = self.normalized_shape if self.in_width is None else (self.in_width.current,)
        return F.layer_norm(input, shape, self.cut("weight"), self.cut("bias"), self.eps)


class GroupNorm(_Follower, nn.GroupNorm):
    """torch.nn.GroupNorm that follows a width. Its number of groups stays; all of them lose channels alike.

    Shapes: (batch, channels, …), unchanged. The width must have been made with this layer's ``num_groups``.
    """

    plain_class = nn.GroupNorm

    def bind(self, **widths: Any) -> None:
        super().bind(**widths)
        layout = self.in_width
        if layout is None or self.num_groups == 1:
            return
        first = layout.factors[0]
        if isinstance(first, int) or len(layout.widths) != 1 or first.groups % self.num_groups:
            raise ValueError(f"{self.num_groups} groups need a width that was made with groups={self.num_groups}")

    def plain_sizes(self) -> dict[str, Any]:
        return {"num_channels": kept(self.in_width, self.num_channels)}

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.cut("weight"), self.cut("bias"), self.eps)


class PReLU(_Follower, nn.PReLU):
    """torch.nn.PReLU with one slope a channel, following a width. Shapes: (batch, channels, …), unchanged."""

    plain_class = nn.PReLU

    def plain_sizes(self) -> dict[str, Any]:
        return {"num_parameters": kept(self.in_width, self.num_parameters)}

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.cut("weight"))
