"""Convolutions able to follow Widths."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.costs.base import ZERO, OpCost, full_size, has_bias, numel, size
from dyn_lightning.costs.weighted import weighted
from dyn_lightning.graph import Axis, Op, axis_size, fix_sizes, normal
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.notes import Axes
from dyn_lightning.graph.polynomial import Polynomial
from dyn_lightning.graph.products import conv_axes, group_axes
from dyn_lightning.layers.base import DynamicLayer
from dyn_lightning.widths.layout import Layout, as_layout


class _Conv(DynamicLayer):
    """Shared by the convolutions: channels are dimension 1 of input and output.

    A convolution with a group for each channel follows ``in_width`` and produces no size of its own; its number of
    groups shrinks. Other groups stay as many, and the sizes are those of one: ``Layout(groups, width)``.
    """

    in_channels: int
    out_channels: int
    groups: int
    transposed: bool
    kernel_size: tuple[int, ...]

    sizes = {"in_channels": "in_width", "out_channels": "out_width"}
    features = "made"

    @staticmethod
    def trace(c: LayerCall) -> list[Axes]:
        m, x, spatial = c.module, c.inputs[0], (int(n) for n in c.module.kernel_size)
        at = len(x) - 1 - len(m.kernel_size)
        reason = f"{c.name} is a convolution of {m.groups} groups"
        taps: list[Axis | None] = [(n,) for n in spatial]
        _, within = group_axes(c.t, x[at], m.groups, reason, own=True)
        depthwise = m.groups > 1 and axis_size(within) == 1
        if m.transposed:
            weight = c.own(m.weight, [x[at], (int(m.weight.shape[1]),) if depthwise else None, *taps])
        else:
            made = normal((*x[at], int(m.weight.shape[0]) // m.groups)) if depthwise else None
            weight = c.own(m.weight, [made, within, *taps])
        y, _ = conv_axes(c.t, x, weight, c.results[0], m.groups, transposed=m.transposed, reason=reason, own=True)
        if at == 0:
            for axis in (x[0], y[0]):
                fix_sizes(axis, f"{c.name} is called without a batch dimension{c.t.line}")
        c.bind(in_width=x[at], out_width=y[at])
        if _is_depthwise(m):
            c.features, c.produces = "each", ()
        return [y]

    @classmethod
    def numbers(cls, plain: Any, key: str, dims: Sequence[Layout | None]) -> Iterator[tuple[str, Layout]]:
        first, second = dims[:2] if key == "weight" else (None, None)
        names = ("in_channels", "out_channels") if plain.transposed else ("out_channels", "in_channels")
        if first is not None:
            yield names[0], first
            if _is_depthwise(plain):
                each = plain.out_channels // plain.in_channels
                inside = first if plain.transposed else first.without(each)
                if inside is not None:
                    yield from (("in_channels", inside), ("groups", inside), ("out_channels", Layout(inside, each)))
        if second is not None:
            yield names[1], Layout(plain.groups, second)

    @classmethod
    def replacing(cls, plain: nn.Module, refs: dict[str, Any]) -> dict[nn.Module, nn.Module]:
        follows = _is_depthwise(plain)
        return super().replacing(plain, {k: v for k, v in refs.items() if not (follows and k == "out_width")})

    def bind(self, **widths: Any) -> None:
        if self.groups > 1:
            if self.depthwise and widths.get("out_width") is not None:
                raise ValueError("a depthwise convolution follows its input: give in_width alone")
            for name in ("out_width", "in_width"):
                size = widths.get(name)
                if size is not None and not self.depthwise and not _in_blocks(as_layout(size), self.groups):
                    raise ValueError(f"{self.groups} groups need {name}=Layout({self.groups}, …)")
        super().bind(**widths)

    @property
    def depthwise(self) -> bool:
        full = self.__dict__.get("_full", self.__dict__)
        return bool(full["groups"] == full["in_channels"] > 1)

    @property
    def _out(self) -> Layout | None:
        if not self.depthwise:
            return self.out_width
        return (
            None
            if self.in_width is None
            else Layout(self.in_width, self.full("out_channels") // self.full("in_channels"))
        )

    @property
    def _groups(self) -> int:
        return self.in_width.current if self.depthwise and self.in_width is not None else self.full("groups")

    def layouts(self) -> dict[str, tuple[Layout | None, ...]]:
        dims: tuple[Layout | None, Layout | None]
        if self.depthwise:
            dims = (self.in_width if self.transposed else self._out, None)
        elif self.transposed:
            dims = (self.in_width, _within(self._out, self.full("groups")))
        else:
            dims = (self._out, _within(self.in_width, self.full("groups")))
        spatial = (None,) * len(self.kernel_size)
        return {"weight": (*dims, *spatial), "bias": (self._out,)}

    def plain_sizes(self) -> dict[str, Any]:
        sizes = super().plain_sizes()
        if self.depthwise and self.in_width is not None and self._out is not None:
            sizes |= {"out_channels": self._out.size, "groups": self.in_width.size}
        return sizes


def _is_depthwise(conv: Any) -> bool:
    return bool(conv.groups == conv.in_channels > 1)


def _in_blocks(layout: Layout, groups: int) -> bool:
    first = layout.factors[0] if layout.factors else 1
    return isinstance(first, int) and first % groups == 0


def _within(layout: Layout | None, groups: int) -> Layout | None:
    """The channels of one group."""
    if layout is None or groups == 1:
        return layout
    first, *others = layout.factors
    assert isinstance(first, int)
    return Layout(first // groups, *others)


class _PlainConv(_Conv):
    @staticmethod
    def price(op: Op) -> OpCost:
        module: Any = op.module
        x, y, channel = op.inputs[0], op.outputs[0], -1 - len(module.kernel_size)
        in_per_group = Polynomial.constant(1) if _is_depthwise(module) else size(x[channel]) / module.groups
        positions = numel(y[:channel]) * numel(y[channel + 1 :])
        fan_in = in_per_group * math.prod(module.kernel_size)
        return weighted(fan_in, size(y[channel]), positions, has_bias(module), op.product_and_sum)

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = self.cut("weight"), self.cut("bias")
        channels = -1 - len(self.kernel_size)
        if self.depthwise:
            return self._convolve(input, weight, bias)
        if self.folds_noise and input.dim() == len(self.kernel_size) + 2:
            return self.noise_(self._convolve(input, *self.fade(weight, bias)), channels)
        return self.noise(self._convolve(input, weight, bias), channels)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        conv: Any = (F.conv1d, F.conv2d, F.conv3d)[len(self.kernel_size) - 1]
        me: Any = self
        padding = me.padding
        if me.padding_mode != "zeros":
            x = F.pad(x, me._reversed_padding_repeated_twice, mode=me.padding_mode)
            padding = 0
        y: Tensor = conv(x, weight, bias, me.stride, padding, me.dilation, self._groups)
        return y


class Conv1d(_PlainConv, nn.Conv1d):
    """torch.nn.Conv1d with learned channels. Shapes: (batch, in, time) → (batch, out, time)."""

    plain_class = nn.Conv1d


class Conv2d(_PlainConv, nn.Conv2d):
    """torch.nn.Conv2d with learned channels. Shapes: (batch, in, …) → (batch, out, …)."""

    plain_class = nn.Conv2d


class Conv3d(_PlainConv, nn.Conv3d):
    """torch.nn.Conv3d with learned channels. Shapes: (batch, in, …) → (batch, out, …)."""

    plain_class = nn.Conv3d


class _TransposedConv(_Conv):
    @staticmethod
    def price(op: Op) -> OpCost:
        module: Any = op.module
        x, y, channel = op.inputs[0], op.outputs[0], -1 - len(module.kernel_size)
        bias, taps = has_bias(module), math.prod(module.kernel_size)
        out_per_group = (
            Polynomial.constant(module.out_channels // module.groups)
            if _is_depthwise(module)
            else size(y[channel]) / module.groups
        )
        params = size(x[channel]) * out_per_group * taps + size(y[channel]) * bias
        product, plus = op.product_and_sum
        full = (product + plus) * numel(x) * out_per_group * taps + numel(y) * plus * bias
        # The paper's convention multiplies each output by every tap, but adds only where taps do meet.
        reached, lengths = 1, 1
        for axis, k, s, p, d in zip(
            x[channel + 1 :], module.kernel_size, module.stride, module.padding, module.dilation, strict=True
        ):
            n_in = full_size(axis)
            n_out = (n_in - 1) * s - 2 * p + d * (k - 1) + 1
            reached *= sum(0 <= i * s + j * d - p < n_out for i in range(n_in) for j in range(k))
            lengths *= n_out
        filters = numel(x[:channel]) * size(x[channel]) * out_per_group
        paper = filters * (numel(y[channel + 1 :]) * (taps + 1) + (reached - lengths)) - numel(y) * (not bias)
        return OpCost(full, ZERO if len(module.kernel_size) == 3 else paper, params)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        me: Any = self
        spatial = len(self.kernel_size)
        padding = me._output_padding(input, output_size, me.stride, me.padding, me.kernel_size, spatial, me.dilation)
        conv: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[spatial - 1]
        weight, bias = self.cut("weight"), self.cut("bias")
        y = conv(input, weight, bias, me.stride, me.padding, padding, self._groups, me.dilation)
        return y if self.depthwise else self.noise(y, -1 - len(self.kernel_size))


class ConvTranspose1d(_TransposedConv, nn.ConvTranspose1d):
    """torch.nn.ConvTranspose1d with learned channels. Shapes: (batch, in, time) → (batch, out, time)."""

    plain_class = nn.ConvTranspose1d


class ConvTranspose2d(_TransposedConv, nn.ConvTranspose2d):
    """torch.nn.ConvTranspose2d with learned channels. Shapes: (batch, in, …) → (batch, out, …)."""

    plain_class = nn.ConvTranspose2d


class ConvTranspose3d(_TransposedConv, nn.ConvTranspose3d):
    """torch.nn.ConvTranspose3d with learned channels. Shapes: (batch, in, …) → (batch, out, …)."""

    plain_class = nn.ConvTranspose3d
