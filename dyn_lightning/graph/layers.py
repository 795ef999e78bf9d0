"""Layers that are taken as a whole: their rules are called, and what these say is noted."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dyn_lightning.errors import SettingError
from dyn_lightning.graph.axes import Axis, Size, axis_size
from dyn_lightning.graph.declared import LAYERS
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.notes import Axes, Op, Trail
from dyn_lightning.graph.tracer import Tracer
from dyn_lightning.inputs import tensors_in

# What a rule raises where a layer or function is called in a form that it does not know: its sizes are then fixed.
UNKNOWN_FORM = (IndexError, KeyError, TypeError, ValueError, AttributeError, AssertionError, StopIteration)


def on_layer(t: Tracer, name: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
    """Note what a layer's outputs are made of, and how its own sizes are bound.

    Raises:
        SettingError: where what the layer's class declares does not hold.
    """
    tensors, results = tensors_in((args, kwargs)), tensors_in(out)
    rule = LAYERS[type(module)]
    inputs = tuple(t.axes(x) for x in tensors)
    call = LayerCall(t, name, module, rule, inputs, results, features=rule.features, produces=rule.makes)
    try:
        outputs = rule.trace(call)
    except SettingError:
        raise
    except UNKNOWN_FORM:
        t.graph.bindings.pop(name, None)
        outputs = opaque(call, f"{name} is called in a form that is not known{t.line}")
        call.hidden = ()
    call.name_sizes()
    for x, axes in zip(results, outputs, strict=False):
        t.note(x, axes)
    if isinstance(out, Tensor):
        t.lead(out, _trail(call, tensors))
    t.record(
        Op(
            name, type(module).__name__, module, inputs, tuple(outputs), call.hidden,
            shared=t.shared(name, module), complexes=tuple(x.is_complex() for x in tensors[:1]),
            makes=tuple(_produced(call)),
        )
    )  # fmt: skip


def _produced(call: LayerCall) -> list[Axis]:
    found: list[Axis] = []
    for size in call.produces:
        axis = (call.bound or {}).get(size)
        found += axis if isinstance(axis, list) else [] if axis is None else [axis]
    return found


def _trail(call: LayerCall, inputs: list[Tensor]) -> Trail | None:
    """Where a layer's features come from: itself, or the layer that made those that it treats each by itself."""
    if call.features == "made":
        return Trail(call.name)
    before = call.t.trail(inputs[0]) if len(inputs) == 1 else None
    if before is None or call.features == "mixed":
        return None
    return before.onward(call.name if call.features == "normed" else "")


def opaque(c: LayerCall, reason: str | None = None) -> list[Axes]:
    """What no rule can follow: all that goes in is fixed."""
    c.t.fix_axes(c.inputs, reason or f"{c.name} is a {type(c.module).__name__}{c.t.line}")
    return [c.t.fixed_axes(x) for x in c.results]


def pooled(x: Axes, results: list[Tensor]) -> list[Axes] | None:
    """Pooling keeps every dimension that it does not change; a learned one must be among the kept."""
    made = []
    for out in results:
        axes = []
        for axis, n in zip(x, out.shape, strict=True):
            if axis_size(axis) != n and any(isinstance(f, Size) for f in axis):
                return None
            axes.append(axis if axis_size(axis) == n else (int(n),))
        made.append(tuple(axes))
    return made
