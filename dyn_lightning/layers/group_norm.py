"""Norm over groups of channels, able to follow Widths."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.costs.base import OpCost, size
from dyn_lightning.graph import Op, normal
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.notes import Axes
from dyn_lightning.graph.polynomial import Polynomial
from dyn_lightning.graph.products import group_axes
from dyn_lightning.layers.base import DynamicLayer
from dyn_lightning.layers.channel_norm import group_norm_price
from dyn_lightning.widths.layout import Layout


class GroupNorm(DynamicLayer, nn.GroupNorm):
    """torch.nn.GroupNorm that follows a width.

    A group for each channel follows the channels; otherwise the number of groups stays and all of them lose channels
    alike. Shapes: (batch, channels, …), unchanged. Of several groups the width is that of one:
    ``Layout(num_groups, width)``.
    """

    plain_class = nn.GroupNorm
    sizes = {"num_channels": "in_width"}
    tensors = {"weight": ("in_width",), "bias": ("in_width",)}
    made = ()

    @staticmethod
    def trace(c: LayerCall) -> list[Axes]:
        groups, channels = c.module.num_groups, c.inputs[0][1 if len(c.inputs[0]) > 1 else 0]
        group_axes(c.t, channels, groups, f"{c.name} normalises in {groups} groups", own=True)
        c.bind(in_width=channels)
        return [tuple(map(normal, c.inputs[0]))]

    @classmethod
    def numbers(cls, plain: Any, key: str, dims: Sequence[Layout | None]) -> Iterator[tuple[str, Layout]]:
        for _, layout in super().numbers(plain, key, dims):
            yield "num_channels", layout
            if plain.num_groups == plain.num_channels > 1:
                yield "num_groups", layout

    @staticmethod
    def price(op: Op) -> OpCost:
        module: Any = op.module
        each = module.num_groups == module.num_channels  # a group for each channel
        return group_norm_price(op, 1, size(op.inputs[0][1]) if each else Polynomial.constant(module.num_groups))

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
        sizes = super().plain_sizes()
        return {**sizes, "num_groups": sizes["num_channels"] if self._each else self.full("num_groups")}

    def forward(self, input: Tensor) -> Tensor:
        groups = self.in_width.current if self._each and self.in_width is not None else self.full("num_groups")
        return F.group_norm(input, groups, self.cut("weight"), self.cut("bias"), self.eps)
