"""Where a size is read: the weights that multiply its features, and the features as they come in.

N samples (items, time and the fixed factors of a dimension), F features, G fixed factors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from dyn_lightning.layers import DynamicLayer
from dyn_lightning.modules.attention import SlimMultiheadAttention
from dyn_lightning.widths.layout import Layout

Read = Callable[[tuple[Any, ...], dict[str, Any], Any], Tensor]
"""(positional arguments, keyword arguments, output) of a layer's call → what a weight multiplies, features last."""


@dataclass(frozen=True)
class Consumer:
    """A weight that multiplies features whose size is learned.

    Attributes:
        layer: whose weight it is, a dynamic layer.
        name: "layer.parameter", for messages.
        weight: name of the parameter.
        dim: its dimension of the features.
        layout: what that dimension is made of.
        rows: of dimension 0, those that read these features; None for all.
        bias_rows: of the bias, those of these rows; None for all.
        bias: name of the parameter that is added to the product; None where there is none.
        read: how the features are found in a call.
        inexact: why what is carried over is not quite what went; empty where it is.
    """

    layer: DynamicLayer
    name: str
    weight: str
    dim: int
    layout: Layout
    read: Read
    rows: slice | None = None
    bias: str | None = None
    bias_rows: slice | None = None
    inexact: str = ""

    def grid(self) -> Tensor:
        """Positions in the full dimension by fixed factors and by features: (G, F)."""
        factors = self.layout.factors
        sizes = [f if isinstance(f, int) else f.full_size for f in factors]
        fixed = [i for i, f in enumerate(factors) if isinstance(f, int)]
        learned = [i for i in range(len(factors)) if i not in fixed]
        positions = torch.arange(self.layout.full_size).reshape(sizes).permute(*fixed, *learned)
        return positions.reshape(math.prod(sizes[i] for i in fixed), -1)


def consumers(network: nn.Module) -> tuple[list[Consumer], dict[str, str]]:
    """All consumers of a dynamic network, and by name why others are left out."""
    found: list[Consumer] = []
    skipped: dict[str, str] = {}
    seen: dict[int, str] = {}
    for name, layer in network.named_modules():
        if not isinstance(layer, DynamicLayer):
            continue
        for one in _of_layer(name, layer, skipped):
            if any(w.resampled for w in one.layout.widths):
                skipped[one.name] = "what it reads samples a continuum, which is respaced"
            elif (weight := layer._parameters.get(one.weight)) is None:
                skipped[one.name] = "its weight is computed from others"
            elif (other := seen.setdefault(id(weight), one.name)).split(" ")[0] != one.name.split(" ")[0]:
                skipped[one.name] = f"it shares its weight with {other}"
            else:
                found.append(one)
    for bare in getattr(network, "bare", ()):
        if not bare.makes:
            skipped[bare.name] = "the network's own code reads it"
    return found, skipped


def _of_layer(name: str, layer: DynamicLayer, skipped: dict[str, str]) -> Iterator[Consumer]:
    if isinstance(layer, nn.Linear) and layer.in_width is not None:
        yield Consumer(
            layer, f"{name}.weight", "weight", 1, layer.in_width, lambda a, k, y: _first(a, k), bias=_bias(layer)
        )
    elif isinstance(layer, nn.modules.conv._ConvNd):
        yield from _of_convolution(name, layer, skipped)
    elif isinstance(layer, nn.RNNBase):
        yield from _of_recurrent(name, layer, skipped)
    elif isinstance(layer, (nn.MultiheadAttention, SlimMultiheadAttention)):
        yield from _of_attention(name, layer)
    elif layer.widths() and isinstance(layer, (nn.RNNCellBase, nn.Bilinear)):
        skipped[name] = f"a {type(layer).__name__} is not compensated"


def _first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    x: Tensor = args[0] if args else next(iter(kwargs.values()))
    return x


def _bias(layer: Any, name: str = "bias") -> str | None:
    return name if layer._parameters.get(name) is not None else None


def _of_convolution(name: str, layer: Any, skipped: dict[str, str]) -> Iterator[Consumer]:
    if layer.in_width is None or layer.depthwise:
        return
    if layer.full("groups") > 1:
        skipped[f"{name}.weight"] = "a convolution in groups is not compensated"
        return
    channels = -1 - len(layer.kernel_size)
    inexact, bias = "", _bias(layer)
    if layer.transposed:
        bias, inexact = None, "a transposed convolution adds up as many taps as overlap: without the constant"
    elif any(layer.padding) and layer.padding_mode == "zeros":
        inexact = "padded with zeros: inexact at the borders"
    yield Consumer(
        layer, f"{name}.weight", "weight", 0 if layer.transposed else 1, layer.in_width,
        lambda a, k, y: _first(a, k).movedim(channels, -1), bias=bias, inexact=inexact,
    )  # fmt: skip


def _of_recurrent(name: str, layer: Any, skipped: dict[str, str]) -> Iterator[Consumer]:
    below = layer.in_width
    for number in range(layer.num_layers):
        answered = layer._answered(number)
        for direction, names in enumerate(layer._names(number)):
            bias = layer.bias
            if below is not None:
                yield Consumer(
                    layer, f"{name}.{names[0]}", names[0], 1, below, _input_of(layer, number),
                    bias=names[2] if bias else None,
                )  # fmt: skip
            if answered is not None:
                yield Consumer(
                    layer, f"{name}.{names[1]}", names[1], 1, Layout(answered), _state_of(layer, number, direction),
                    bias=names[3] if bias else None, inexact="what it heard a step before",
                )  # fmt: skip
        if layer.proj_size and layer.hidden_widths[number] is not None:
            skipped[f"{name}.weight_hr_l{number}"] = "cells inside a recurrent layer are not seen"
        below = None if answered is None else Layout(layer.directions, answered)


def _input_of(layer: Any, number: int) -> Read:
    return lambda args, kwargs, output: _run_to(layer, number, args, kwargs)


def _state_of(layer: Any, number: int, direction: int) -> Read:
    def read(args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Tensor:
        y = _run_to(layer, number + 1, args, kwargs)
        return y.unflatten(-1, (layer.directions, -1))[..., direction, :]

    return read


def _run_to(layer: Any, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """What goes into layer ``number`` of a recurrent stack, time first or packed."""
    given = (*args, *kwargs.values())
    x, hx = given[0], given[1] if len(given) > 1 else None
    packed = x if isinstance(x, PackedSequence) else None
    x = packed.data if packed is not None else x
    if packed is None and x.dim() == 2:
        x = x.unsqueeze(1)
        hx = None if hx is None else tuple(s.unsqueeze(1) for s in hx) if isinstance(hx, tuple) else hx.unsqueeze(1)
    elif packed is None and layer.batch_first:
        x = x.transpose(0, 1)
    for index in range(number):
        state = layer._state(x, hx, index, packed)
        x, _ = layer._run_layer(x, state, index, packed.batch_sizes if packed is not None else None)
    return x  # type: ignore[no-any-return]


def _of_attention(name: str, layer: Any) -> Iterator[Consumer]:
    heads, head_size, value_size = layer._parts
    keys, values = (heads.full_size * size.full_size for size in (head_size, value_size))
    rows = {"q": slice(0, keys), "k": slice(keys, 2 * keys), "v": slice(2 * keys, 2 * keys + values)}
    fused = layer._parameters.get("in_proj_weight") is not None
    for index, (letter, width) in enumerate(zip("qkv", ("in_width", "key_width", "value_width"), strict=True)):
        layout = layer.ref("in_width" if fused else width)
        if layout is None:
            continue
        yield Consumer(
            layer, f"{name}.in_proj_weight {letter}" if fused else f"{name}.{letter}_proj_weight",
            "in_proj_weight" if fused else f"{letter}_proj_weight", 1, layout,
            _argument(index, ("query", "key", "value")[index]), bias=_bias(layer, "in_proj_bias"),
            rows=rows[letter] if fused else None, bias_rows=rows[letter],
        )  # fmt: skip


def _argument(position: int, name: str) -> Read:
    return lambda args, kwargs, output: args[position] if len(args) > position else kwargs[name]
