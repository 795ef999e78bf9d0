"""Norms and per-channel activations able to follow Widths. They produce no size of their own."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.layers.base import DynamicLayer, Size, kept
from dyn_lightning.widths.layout import Layout


class _Follower(DynamicLayer):
    """A layer with one entry per channel in each of its parameters and buffers."""

    def __init__(self, *args: Any, in_width: Size | None = None, noisy: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bind(in_width=in_width, noisy=noisy)

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


class _InstanceNorm(_Follower):
    num_features: int

    def plain_sizes(self) -> dict[str, Any]:
        return {"num_features": kept(self.in_width, self.num_features)}

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


class _LastNorm(_Follower):
    """A norm over the last dimensions; ``in_width`` is the last one, ``outer`` those before it, first to last."""

    normalized_shape: tuple[int, ...]

    def _dims(self) -> tuple[Layout | None, ...]:
        outer = self.__dict__.get("_refs", {}).get("outer") or (None,) * (len(self.normalized_shape) - 1)
        return (*outer, self.in_width)

    def layouts(self) -> dict[str, tuple[Layout | None, ...]]:
        return {name: self._dims() for name, t in self._parameters.items() if t is not None}

    def _shape(self, *, at_end: bool = False) -> tuple[int, ...]:
        full = self.__dict__["_full_shape"]
        pairs = zip(self._dims(), full, strict=True)
        return tuple(n if d is None else d.size if at_end else d.current for d, n in pairs)

    def bind(self, **widths: Any) -> None:
        self.__dict__["_full_shape"] = tuple(self.normalized_shape)
        super().bind(**widths)

    def plain_sizes(self) -> dict[str, Any]:
        return {"normalized_shape": self._shape(at_end=True)}

    def to_plain(self) -> nn.Module:
        plain = super().to_plain()
        del plain.__dict__["_full_shape"]
        return plain


class LayerNorm(_LastNorm, nn.LayerNorm):
    """torch.nn.LayerNorm over the elements in use of the last dimensions, which follow widths.

    Shapes: (…, features), unchanged.
    """

    plain_class = nn.LayerNorm

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self._shape(), self.cut("weight"), self.cut("bias"), self.eps)


class RMSNorm(_LastNorm, nn.RMSNorm):
    """torch.nn.RMSNorm over the elements in use of the last dimensions, which follow widths.

    Shapes: (…, features), unchanged.
    """

    plain_class = nn.RMSNorm

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self._shape(), self.cut("weight"), self.eps)


class GroupNorm(_Follower, nn.GroupNorm):
    """torch.nn.GroupNorm that follows a width.

    A group for each channel follows the channels; otherwise the number of groups stays and all of them lose channels
    alike. Shapes: (batch, channels, …), unchanged. Of several groups the width is that of one:
    ``Layout(num_groups, width)``.
    """

    plain_class = nn.GroupNorm

    @property
    def _each(self) -> bool:
        full = self.__dict__["_full"]
        return bool(full["num_groups"] == full["num_channels"] > 1)

    def bind(self, **widths: Any) -> None:
        super().bind(**widths)
        layout = self.in_width
        if layout is None or self.num_groups == 1 or self._each:
            return
        first = layout.factors[0]
        if not isinstance(first, int) or first % self.num_groups:
            raise ValueError(f"{self.num_groups} groups need in_width=Layout({self.num_groups}, …)")

    def plain_sizes(self) -> dict[str, Any]:
        channels = kept(self.in_width, self.num_channels)
        return {"num_channels": channels, "num_groups": channels if self._each else self.full("num_groups")}

    def forward(self, input: Tensor) -> Tensor:
        groups = self.in_width.current if self._each and self.in_width is not None else self.full("num_groups")
        return F.group_norm(input, groups, self.cut("weight"), self.cut("bias"), self.eps)


class PReLU(_Follower, nn.PReLU):
    """torch.nn.PReLU with one slope a channel, following a width. Shapes: (batch, channels, …), unchanged."""

    plain_class = nn.PReLU

    def plain_sizes(self) -> dict[str, Any]:
        return {"num_parameters": kept(self.in_width, self.num_parameters)}

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.cut("weight"))
