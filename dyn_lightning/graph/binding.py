"""How a layer's own sizes are bound: what its parameters and its integer attributes are made of."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dyn_lightning.graph.axes import Axis, axis_size
from dyn_lightning.graph.ints import Attribute
from dyn_lightning.graph.notes import Axes
from dyn_lightning.graph.numbers import name_size
from dyn_lightning.graph.tracer import Tracer
from dyn_lightning.graph.unification import unify
from dyn_lightning.modules.attention import SlimMultiheadAttention


def bind(t: Tracer, name: str, **new: Any) -> dict[str, Any]:
    """A layer's binding; a layer that is called again must meet the sizes that it met before."""
    bound = t.graph.bindings.setdefault(name, new)
    for key, axis in new.items():
        if bound[key] is not axis and isinstance(axis, tuple) and axis_size(bound[key]) == axis_size(axis):
            unify(bound[key], axis, f"{name} is called with inputs of different make{t.line}")
    return bound


def own_weight(t: Tracer, name: str, x: Tensor | None, axes: list[Axis | None]) -> Axes:
    """Notes on a layer's own parameter. None stands for a size that it makes, named after the layer."""
    assert x is not None
    known = t.known(x)
    made = [
        (known[d] if known else t.new_size(name, int(n))) if axis is None else axis
        for d, (axis, n) in enumerate(zip(axes, x.shape, strict=True))
    ]
    return t.own(x, tuple(made), f"{name} shares a parameter with another layer")


# Attributes of layers that are sizes, and where a binding has them.
_ATTRIBUTES = {
    "in_features": "in_axis", "in_channels": "in_axis", "input_size": "in_axis", "num_features": "in_axis",
    "num_channels": "in_axis", "num_parameters": "in_axis", "out_features": "out", "out_size": "out",
    "out_channels": "out", "embedding_dim": "out", "hidden_size": "out", "num_heads": "heads", "head_dim": "head_size",
    "head_size": "head_size", "value_size": "value_size", "kdim": "key_axis", "vdim": "value_axis",
}  # fmt: skip


def name_sizes(t: Tracer, name: str, m: nn.Module) -> None:
    """Tell which Axes a layer's integer attributes are the sizes of."""
    bound = t.graph.bindings.get(name, {})
    # What attention calls its size is that of what it reads, where it may answer another one that of what it answers.
    embed_dim = "out" if isinstance(m, SlimMultiheadAttention) else "in_axis"
    for key, place in {**_ATTRIBUTES, "embed_dim": embed_dim}.items():
        axis = bound["hidden"][0] if key == "hidden_size" and "hidden" in bound else bound.get(place)
        if axis is not None and getattr(m, key, None) == axis_size(axis):
            name_size(t, Attribute(name, key, axis_size(axis)), axis)
    if isinstance(m, (nn.LayerNorm, nn.RMSNorm)) and "in_axis" in bound:
        name_size(t, Attribute(name, "normalized_shape", axis_size(bound["in_axis"]), 0), bound["in_axis"])
