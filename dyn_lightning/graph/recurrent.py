"""Recurrent layers and cells: what they do to Axes, and how their own sizes are bound."""

from __future__ import annotations

from typing import Any

from torch import nn

from dyn_lightning.graph import numbers
from dyn_lightning.graph.axes import Axis, axis_size, fix_sizes, make_axis, normal
from dyn_lightning.graph.binding import bind
from dyn_lightning.graph.ints import Attribute
from dyn_lightning.graph.notes import Axes
from dyn_lightning.graph.tracer import Tracer
from dyn_lightning.graph.unification import unify
from dyn_lightning.inputs import tensors_in
from dyn_lightning.modules.stacked_rnn import StackedRNN

CELLS = (nn.RNNCell, nn.GRUCell, nn.LSTMCell)


def recurrent(t: Tracer, name: str, m: Any, inputs: tuple[Axes, ...], out: Any) -> tuple[list[Axes], list[Axis]]:
    """RNN, GRU, LSTM and StackedRNN, of one layer or several: a hidden size for each."""
    results = tensors_in(out)
    x, directions = inputs[0], 2 if m.bidirectional else 1
    hidden, project = (_stack if isinstance(m, StackedRNN) else _layers)(t, name, m, x[-1])
    states = 2 if "LSTM" in (type(m).__name__, getattr(m, "kind", "")) else 1
    equal = len(set(map(axis_size, hidden))) == 1

    def tie_layers() -> None:
        reason = f"the final states of {name} are read as one tensor{t.line}"
        for axis in hidden[1:]:
            if equal:
                unify(hidden[0], axis, reason)
        if not equal:
            t.fix_axes([tuple(hidden)], reason)

    given = [axes for axes in inputs[1:] if len(axes) > 1]  # what else a packed sequence has is of one dimension
    for i, state in enumerate(given):
        reason = f"{name} is given its initial state{t.line}"
        if project is None or i:
            tie_layers()
        own = project if project and not i else hidden[0] if equal else None
        if own is not None:
            unify(own, state[-1], reason)
        for axis in state if own is None else state[:-1]:
            fix_sizes(axis, reason)
    # A packed output is its data and, without notes of their own, three tensors of indices.
    first_state = len(results) - states
    if len(hidden) > 1:
        for final in results[first_state + bool(project) :]:
            # Final states of all layers come in one tensor: only where somebody reads it need the layers agree.
            t.on_use(final, tie_layers)
    answered = [project or hidden[-1], hidden[-1]]
    finals = [
        (*((int(n),) for n in final.shape[:-1]), axis if axis_size(axis) == final.shape[-1] else (final.shape[-1],))
        for final, axis in zip(results[first_state:], answered, strict=False)
    ]
    y = (*x[:-1], make_axis(directions, *answered[0]))
    indices = [t.fixed_axes(s) for s in results[1:first_state]]
    return [y, *indices, *finals], [*hidden, *([project] if project else [])]


def _layers(t: Tracer, name: str, m: Any, below: Axis) -> tuple[list[Axis], Axis | None]:
    """The hidden sizes of torch.nn's layers, and the size of their projection, one for all, where they have one.

    With a projection, what an LSTM answers and its h are of another size than its cells.
    """
    known = t.graph.bindings.get(name)
    hidden: list[Axis] = (
        known["hidden"] if known else [t.new_size(f"{name}.l{i}", m.hidden_size) for i in range(m.num_layers)]
    )
    project: Axis | None = None
    if m.proj_size:
        project = known["project"] if known else t.new_size(f"{name}.proj", m.proj_size)
    bind(t, name, hidden=hidden, in_axis=below, **({"project": project} if project else {}))
    _own_weights(t, name, m, hidden, below, project)
    return hidden, project


def _own_weights(t: Tracer, name: str, m: Any, hidden: list[Axis], below: Axis, project: Axis | None) -> None:
    """What a layer's parameters are made of, should the network's code read them by themselves."""
    gates, directions = {nn.RNN: 1, nn.GRU: 3, nn.LSTM: 4}[type(m)], 1 + m.bidirectional
    for i, axis in enumerate(hidden):
        rows, state = make_axis(gates, *axis), project or axis
        kinds = {"weight_ih": (rows, below), "weight_hh": (rows, state), "weight_hr": (state, axis)}
        for key in (
            key for names in m._all_weights[i * (1 + m.bidirectional) :][: 1 + m.bidirectional] for key in names
        ):
            axes = kinds.get(key.split("_l")[0], (rows,))
            t.own(getattr(m, key), axes, f"{name} shares a parameter with another layer")
        below = make_axis(directions, *state)


def _stack(t: Tracer, name: str, m: StackedRNN, below: Axis) -> tuple[list[Axis], Axis | None]:
    """The same for a stack: its layers are bound one by one, and its own numbers follow them."""
    known = [t.graph.bindings.get(f"{name}.layers.{i}") for i in range(len(m.layers))]
    hidden: list[Axis] = [
        bound["hidden"][0] if bound else t.new_size(f"{name}.l{i}", int(n))
        for i, (bound, n) in enumerate(zip(known, m.hidden_sizes, strict=True))
    ]
    project: Axis | None = None
    if m.proj_size:
        project = known[0]["project"] if known[0] else t.new_size(f"{name}.proj", int(m.proj_size))
        numbers.bind(t, Attribute(name, "proj_size", axis_size(project)), project)
    numbers.bind(t, Attribute(name, "input_size", axis_size(below)), below)
    for i, axis in enumerate(hidden):
        more = {"project": project} if project else {}
        bind(t, f"{name}.layers.{i}", hidden=[axis], in_axis=below, **more)
        numbers.bind(t, Attribute(name, "hidden_sizes", axis_size(axis), i), axis)
        below = make_axis(m.directions, *(project or axis))
    return hidden, project


def cell(t: Tracer, name: str, m: Any, inputs: tuple[Axes, ...], out: Any) -> tuple[list[Axes], list[Axis]]:
    """One step of a recurrent layer: input and, where given, state (and cell state)."""
    gates = {nn.RNNCell: 1, nn.GRUCell: 3, nn.LSTMCell: 4}[type(m)]
    known = t.known(m.weight_hh)
    hidden = normal(known[1]) if known else t.new_size(name, m.hidden_size)
    rows = make_axis(gates, *hidden)
    reason = f"{name} is called with inputs of different make{t.line}"
    t.own(m.weight_ih, (rows, inputs[0][-1]), reason)
    t.own(m.weight_hh, (rows, hidden), reason)
    for bias in (m.bias_ih, m.bias_hh):
        if bias is not None:
            t.own(bias, (rows,), reason)
    for state in inputs[1:]:
        unify(hidden, state[-1], reason)
    bind(t, name, in_axis=inputs[0][-1], out=hidden, gates=gates)
    return [(*inputs[0][:-1], hidden)] * len(tensors_in(out)), [hidden]
