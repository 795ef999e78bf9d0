"""Convolutions able to follow Widths."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.layers.base import DynamicLayer, Size, kept
from dyn_lightning.width import Layout, Width, as_layout


class _Conv(DynamicLayer):
    """Shared by the convolutions: channels are dimension 1 of input and output.

    A depthwise convolution (as many groups as channels) produces no size of its own: it follows ``in_width``.
    Other grouped convolutions have fixed sizes.
    """

    in_channels: int
    out_channels: int
    groups: int
    transposed: bool

    def __init__(self, *args: Any, out_width: Width | None = None, in_width: Size | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bind(out_width=out_width, in_width=in_width)

    def bind(self, **widths: Any) -> None:
        learned = [name for name, width in widths.items() if width is not None]
        if self.groups > 1 and learned:
            if not self.depthwise:
                raise ValueError(f"a convolution of {self.groups} groups and {self.in_channels} channels is fixed")
            if "out_width" in learned:
                raise ValueError("a depthwise convolution follows its input: give in_width alone")
        super().bind(**widths)

    @property
    def depthwise(self) -> bool:
        return self.groups == self.in_channels == self.out_channels and self.groups > 1

    @property
    def _out(self) -> Layout | None:
        if self.depthwise:
            return self.in_width
        return None if self.out_width is None else as_layout(self.out_width)

    @property
    def _groups(self) -> int:
        return self.in_width.current if self.depthwise and self.in_width is not None else self.groups

    def layouts(self) -> dict[str, tuple[Layout | None, ...]]:
        within = None if self.depthwise else self.in_width
        dims = (self.in_width, None) if self.transposed and self.depthwise else (self._out, within)
        if self.transposed and not self.depthwise:
            dims = (within, self._out)
        spatial = (None,) * len(self.kernel_size)
        return {"weight": (*dims, *spatial), "bias": (self._out,)}

    kernel_size: tuple[int, ...]

    def plain_sizes(self) -> dict[str, Any]:
        sizes = {
            "in_channels": kept(self.in_width, self.in_channels),
            "out_channels": kept(self._out, self.out_channels),
        }
        if self.depthwise and self.in_width is not None:
            sizes["groups"] = self.in_width.size
        return sizes


class _PlainConv(_Conv):
    _padding: Any

    def forward(self, input: Tensor) -> Tensor:
        y = self._convolve(input)
        return y if self.depthwise else self.noise(y, -1 - len(self.kernel_size))

    def _convolve(self, x: Tensor) -> Tensor:
        conv: Any = F.conv1d if len(self.kernel_size) == 1 else F.conv2d
        me: Any = self
        padding = me.padding
        if me.padding_mode != "zeros":
            x = F.pad(x, me._reversed_padding_repeated_twice, mode=me.padding_mode)
            padding = 0
        return conv(x, self.cut("weight"), self.cut("bias"), me.stride, padding, me.dilation, self._groups)


class Conv1d(_PlainConv, nn.Conv1d):
    """torch.nn.Conv1d with learned channels. Shapes: (batch, in, time) → (batch, out, time)."""

    plain_class = nn.Conv1d


class Conv2d(_PlainConv, nn.Conv2d):
    """torch.nn.Conv2d with learned channels. Shapes: (batch, in, …) → (batch, out, …)."""

    plain_class = nn.Conv2d


class _TransposedConv(_Conv):
    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        me: Any = self
        spatial = len(self.kernel_size)
        padding = me._output_padding(input, output_size, me.stride, me.padding, me.kernel_size, spatial, me.dilation)
        conv: Any = F.conv_transpose1d if spatial == 1 else F.conv_transpose2d
        weight, bias = self.cut("weight"), self.cut("bias")
        y = conv(input, weight, bias, me.stride, me.padding, padding, self._groups, me.dilation)
        return y if self.depthwise else self.noise(y, -1 - len(self.kernel_size))


class ConvTranspose1d(_TransposedConv, nn.ConvTranspose1d):
    """torch.nn.ConvTranspose1d with learned channels. Shapes: (batch, in, time) → (batch, out, time)."""

    plain_class = nn.ConvTranspose1d


class ConvTranspose2d(_TransposedConv, nn.ConvTranspose2d):
    """torch.nn.ConvTranspose2d with learned channels. Shapes: (batch, in, …) → (batch, out, …)."""

    plain_class = nn.ConvTranspose2d
