"""Norms over the last dimensions, able to follow Widths. They produce no size of their own."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.costs.base import ZERO, OpCost, numel
from dyn_lightning.graph import Op, normal
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.notes import Axes
from dyn_lightning.graph.polynomial import Polynomial
from dyn_lightning.layers.base import DynamicLayer
from dyn_lightning.widths.layout import Layout


class _LastNorm(DynamicLayer):
    """A norm over the last dimensions; ``in_width`` is the last one, ``outer`` those before it, first to last."""

    sizes = {"normalized_shape": ("outer", "in_width")}
    made = ()
    normalized_shape: tuple[int, ...]

    @classmethod
    def numbers(cls, plain: Any, key: str, dims: Sequence[Layout | None]) -> Iterator[tuple[str, Layout]]:
        for index, layout in enumerate(dims):
            if layout is not None:
                yield f"normalized_shape.{index}", layout

    @staticmethod
    def trace(c: LayerCall) -> list[Axes]:
        x = c.inputs[0]
        own = x[len(x) - len(c.module.normalized_shape) :]
        c.bind(in_width=x[-1], **({"outer": list(own[:-1])} if len(own) > 1 else {}))
        for tensor in c.module._parameters.values():
            if tensor is not None:
                c.t.own(tensor, own, c.reason)
        return [tuple(map(normal, x))]

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


def _shares(op: Op) -> tuple[Axes, int, int, Polynomial]:
    """What goes in, the dimensions that are normalised, the parameters for each of their elements, and of all."""
    module: Any = op.module
    x, n_dims = op.inputs[0], len(module.normalized_shape)
    affine = bool(module.elementwise_affine) + (getattr(module, "bias", None) is not None)
    return x, n_dims, affine, affine * numel(x[len(x) - n_dims :])


class LayerNorm(_LastNorm, nn.LayerNorm):
    """torch.nn.LayerNorm over the elements in use of the last dimensions, which follow widths.

    Shapes: (…, features), unchanged.
    """

    plain_class = nn.LayerNorm

    @staticmethod
    def price(op: Op) -> OpCost:
        x, n_dims, affine, params = _shares(op)
        flops = (5 + affine) * numel(x) + 4 * numel(x[:-n_dims])
        return OpCost(flops, flops, params)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self._shape(), self.cut("weight"), self.cut("bias"), self.eps)


class RMSNorm(_LastNorm, nn.RMSNorm):
    """torch.nn.RMSNorm over the elements in use of the last dimensions, which follow widths.

    Shapes: (…, features), unchanged.
    """

    plain_class = nn.RMSNorm

    @staticmethod
    def price(op: Op) -> OpCost:
        x, n_dims, affine, params = _shares(op)
        return OpCost((3 + affine) * numel(x) + 3 * numel(x[:-n_dims]), ZERO, params)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self._shape(), self.cut("weight"), self.eps)
