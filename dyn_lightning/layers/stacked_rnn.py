"""A stack of recurrent layers: how it is read and what it costs. The layers in it are replaced one by one."""

from typing import Any

from dyn_lightning.costs.base import OpCost
from dyn_lightning.graph import Axis, Op, axis_size, make_axis
from dyn_lightning.graph.ints import Attribute
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.notes import Axes
from dyn_lightning.graph.numbers import tie_attribute
from dyn_lightning.layers.declare import declare
from dyn_lightning.layers.recurrent import recurrent_axes, recurrent_price
from dyn_lightning.modules.kinds import describes
from dyn_lightning.modules.stacked_rnn import StackedRNN


def _trace(c: LayerCall) -> list[Axes]:
    """Its layers are bound one by one, and its own numbers follow them."""
    m, below = c.module, c.inputs[0][-1]
    known = [c.t.graph.bindings.get(f"{c.name}.layers.{i}") for i in range(len(m.layers))]
    hidden: list[Axis] = [
        bound["hidden_widths"][0] if bound else c.t.new_size(f"{c.name}.l{i}", int(n))
        for i, (bound, n) in enumerate(zip(known, m.hidden_sizes, strict=True))
    ]
    project: Axis | None = None
    if m.proj_size:
        project = known[0]["proj_width"] if known[0] else c.make("proj_width", int(m.proj_size))
        tie_attribute(c.t, Attribute(c.name, "proj_size", axis_size(project)), project)
    tie_attribute(c.t, Attribute(c.name, "input_size", axis_size(below)), below)
    for i, axis in enumerate(hidden):
        more = {"proj_width": project} if project else {}
        c.bind_part(f"layers.{i}", hidden_widths=[axis], in_width=below, **more)
        tie_attribute(c.t, Attribute(c.name, "hidden_sizes", axis_size(axis), i), axis)
        below = make_axis(m.directions, *(project or axis))
    return recurrent_axes(c, hidden, project, 2 if m.kind == "LSTM" else 1)


def _price(op: Op) -> OpCost:
    module: Any = op.module
    return recurrent_price(op, module.kind, module.layers[0], len(module.layers))


declare(StackedRNN, trace=_trace, price=_price)
describes(
    StackedRNN,
    arguments=(
        *("input_size", "dropout", "batch_first", "bidirectional", "kind", "hidden_sizes", "bias", "proj_size"),
        "nonlinearity",
    ),
    kept_as={
        "bias": lambda stack: bool(stack.layers[0].bias),
        "proj_size": lambda stack: stack.layers[0].proj_size or None,
        "nonlinearity": lambda stack: getattr(stack.layers[0], "nonlinearity", None),
    },
)
