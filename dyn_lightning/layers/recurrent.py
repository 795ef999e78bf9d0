"""GRU and LSTM able to follow Widths, one hidden size for each layer.

H hidden size of a layer, D directions, B batch, T time.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from dyn_lightning.costs.base import OpCost, numel, size
from dyn_lightning.costs.weighted import recurrent_layer
from dyn_lightning.graph import Axis, Op, axis_size, fix_sizes, make_axis, unify
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.notes import Axes
from dyn_lightning.graph.polynomial import Polynomial
from dyn_lightning.layers.base import DynamicLayer, kept
from dyn_lightning.modules.stacked_rnn import StackedRNN
from dyn_lightning.widths.layout import Layout, as_layout
from dyn_lightning.widths.width import Width


class _Recurrent(DynamicLayer):
    """Shared by GRU and LSTM.

    ``hidden_widths`` has one Width (or None) for each layer; both directions of a layer share it. ``proj_width`` is the
    size of an LSTM's projection, one for all layers. The noise
    lies on the layer's output, so that the fused kernels stay. Inside the recurrence the boundary unit is
    heard through weights scaled by its feature's amplitude: it has faded by the time that it leaves, instead
    of leaving the others with a jump.
    """

    gates: int
    has_cell: bool
    kernel: str
    num_layers: int
    bidirectional: bool
    batch_first: bool
    dropout: float

    sizes = {"input_size": "in_width", "hidden_size": "hidden_widths", "proj_size": "proj_width"}
    by_hand = {
        "weight_ih_l0": (None, "in_width"), "weight_hh_l0": (None, "hidden_widths"),
        "weight_hr_l0": ("proj_width", "hidden_widths"),
    }  # fmt: skip
    made = whole = ("hidden_widths", "proj_width")
    followed = False
    arguments: ClassVar[tuple[str, ...]] = (
        "input_size",
        "dropout",
        "batch_first",
        "bidirectional",
        "hidden_size",
        "num_layers",
        "bias",
    )

    @staticmethod
    def trace(c: LayerCall) -> list[Axes]:
        m, known, below = c.module, c.bound, c.inputs[0][-1]
        hidden: list[Axis] = (
            known["hidden_widths"]
            if known
            else [c.t.new_size(f"{c.name}.l{i}", m.hidden_size) for i in range(m.num_layers)]
        )
        project: Axis | None = None
        if m.proj_size:
            project = known["proj_width"] if known else c.make("proj_width", m.proj_size)
        c.bind(hidden_widths=hidden, in_width=below, **({"proj_width": project} if project else {}))
        _own_weights(c, hidden, below, project)
        return recurrent_axes(c, hidden, project, 2 if isinstance(m, nn.LSTM) else 1)

    @staticmethod
    def price(op: Op) -> OpCost:
        module: Any = op.module
        kind = next(kind.__name__ for kind in (nn.RNN, nn.GRU, nn.LSTM) if isinstance(module, kind))
        return recurrent_price(op, kind, module, module.num_layers)

    def bind(self, **widths: Any) -> None:
        if widths.get("proj_width") is not None and not self.proj_size:
            raise ValueError("proj_width is the size of a projection: this layer has none (proj_size=0)")
        hidden = widths.get("hidden_widths")
        if hidden is not None and len(hidden) != self.num_layers:
            raise ValueError(f"{self.num_layers} layers need as many hidden widths, got {len(hidden)}")
        if hidden is not None:
            widths["hidden_widths"] = tuple(None if w is None else as_layout(w).simple for w in hidden)
        super().bind(**widths)
        for width in self.hidden_widths:
            if self.proj_size and width is not None:
                # torch.nn.LSTM takes no projection that is as wide as the cells that it is made of.
                width.limit(lam_min=max(width.lam_min, min(1.0, (self.full("proj_size") + 1) / width.full_size)))

    @property
    def hidden_widths(self) -> tuple[Width | None, ...]:
        return self.__dict__["_refs"].get("hidden_widths") or (None,) * self.num_layers

    @property
    def out_width(self) -> Layout | None:
        last = self._project if self.proj_size else self.hidden_widths[-1]
        return None if last is None else Layout(self.directions, last)

    proj_size: int

    @property
    def _project(self) -> Width | None:
        layout = self.ref("proj_width")
        return None if layout is None else layout.simple

    def _answered(self, layer: int) -> Width | None:
        """The Width of what a layer answers: its projection where it has one, else its hidden size."""
        return self._project if self.proj_size else self.hidden_widths[layer]

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _names(self, layer: int) -> list[list[str]]:
        """For each direction, the names of a layer's parameters in the order of torch's kernels."""
        parts = (
            ["weight_ih", "weight_hh"] + ["bias_ih", "bias_hh"] * bool(self.bias) + ["weight_hr"] * bool(self.proj_size)
        )
        suffixes = ["", "_reverse"][: self.directions]
        return [[f"{part}_l{layer}{suffix}" for part in parts] for suffix in suffixes]

    bias: bool

    def layouts(self) -> dict[str, tuple[Layout | None, ...]]:
        layouts: dict[str, tuple[Layout | None, ...]] = {}
        below = self.in_width
        for layer, width in enumerate(self.hidden_widths):
            answered = self._answered(layer)
            rows = None if width is None else Layout(self.gates, width)
            cells = None if width is None else Layout(width)
            state = None if answered is None else Layout(answered)
            for names in self._names(layer):
                for name in names:
                    kind = name.split("_l")[0]
                    layouts[name] = {
                        "weight_ih": (rows, below), "weight_hh": (rows, state), "weight_hr": (state, cells),
                    }.get(kind, (rows,))  # fmt: skip
            below = None if answered is None else Layout(self.directions, answered)
        return layouts

    def _hidden(self, layer: int, *, kept_sizes: bool = False) -> int:
        width = self.hidden_widths[layer]
        if width is None:
            return self.full("hidden_size")
        return width.size if kept_sizes else width.current

    def _state_sizes(self, layer: int) -> list[tuple[Width | None, int, int]]:
        """For h and, in an LSTM, the cells: the Width, the size in use, and the full size."""
        cells = (self.hidden_widths[layer], self._hidden(layer), self.full("hidden_size"))
        if not self.proj_size:
            return [cells] * (2 if self.has_cell else 1)
        full = self.full("proj_size")
        return [(self._project, full if self._project is None else self._project.current, full), cells]

    input_size: int

    def forward(self, input: Any, hx: Any = None) -> Any:
        if all(w.current == w.full_size and not w.noisy and w.probes is None for w in self.widths()):
            return super().forward(input, hx)
        packed = isinstance(input, PackedSequence)
        x = input.data if packed else input
        batched = packed or x.dim() == 3
        if not batched:
            x, hx = x.unsqueeze(1), _map_state(hx, lambda s: s.unsqueeze(1))
        elif self.batch_first and not packed:
            x = x.transpose(0, 1)  # the kernels' own order: noise on it needs no strided copies
        states = []
        for layer in range(self.num_layers):
            state = self._state(x, hx, layer, input if packed else None)
            x, last = self._run_layer(x, state, layer, input.batch_sizes if packed else None)
            states.append(last)
            if layer + 1 < self.num_layers:
                x = nn.functional.dropout(x, self.dropout, self.training)
        final: Any = tuple(_join([s[i] for s in states]) for i in range(2 if self.has_cell else 1))
        if packed:
            final = tuple(s if input.unsorted_indices is None else s[:, input.unsorted_indices] for s in final)
            x = PackedSequence(x, input.batch_sizes, input.sorted_indices, input.unsorted_indices)
        elif not batched:
            x, final = x.squeeze(1), tuple(s.squeeze(1) for s in final)
        elif self.batch_first:
            x = x.transpose(0, 1)
        return x, (final if self.has_cell else final[0])

    def _state(self, x: Tensor, hx: Any, layer: int, packed: PackedSequence | None) -> list[Tensor]:
        """Initial state of one layer, (D, B, H) each; a full-size state is cut to the elements in use."""
        sizes = self._state_sizes(layer)
        if hx is None:
            batch = int(packed.batch_sizes[0]) if packed is not None else x.shape[1]
            return [x.new_zeros(self.directions, batch, n) for _, n, _ in sizes]
        states = hx if self.has_cell else (hx,)
        rows = slice(layer * self.directions, (layer + 1) * self.directions)
        found = []
        for state, (width, n, full) in zip(states, sizes, strict=True):
            part = state[rows]
            if packed is not None and packed.sorted_indices is not None:
                part = part[:, packed.sorted_indices]
            if part.shape[-1] == full and width is not None:
                part = Layout(width).take(part, 2)
            # What this layer answered before comes back with zeros behind it where another layer is wider.
            found.append(part[..., :n].contiguous())
        return found

    def _run_layer(
        self, x: Tensor, state: list[Tensor], layer: int, batch_sizes: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        cells, width = self.hidden_widths[layer], self._answered(layer)
        weights = []
        for names in self._names(layer):
            cut = [self.cut(name) for name in names]
            if width is not None and width.noisy:
                cut[1] = width.dampen(cut[1], 1)
            if self.proj_size and cells is not None and cells.noisy:
                cut[-1] = cells.dampen(cut[-1], 1)
            weights += cut
        kernel: Any = getattr(torch._VF, self.kernel)  # type: ignore[attr-defined]
        hx = tuple(state) if self.has_cell else state[0]
        tail = (self.bias, 1, 0.0, self.training, self.bidirectional)
        if batch_sizes is not None:
            y, *last = kernel(x, batch_sizes, hx, weights, *tail)
        else:
            y, *last = kernel(x, hx, weights, *tail, False)
        if width is not None:
            y = Layout(self.directions, width).noise(y, -1, batch_dim=0 if batch_sizes is not None else 1)
        return y, last

    def _kept_sizes(self) -> list[int]:
        return [self._hidden(layer, kept_sizes=True) for layer in range(self.num_layers)]

    def _plain_names(self) -> dict[str, str]:
        """Names of the plain form's parameters → those of this layer's."""
        stacked = len(set(self._kept_sizes())) > 1
        return {
            f"layers.{layer}.{theirs}" if stacked else mine: mine
            for layer in range(self.num_layers)
            for names, first in zip(self._names(layer), self._names(0), strict=True)
            for mine, theirs in zip(names, first, strict=True)
        }

    def plain_tensors(self) -> dict[str, Tensor]:
        return {plain: self.cut(mine, kept=True) for plain, mine in self._plain_names().items()}

    def to_plain(self) -> nn.Module:
        """A torch.nn layer where all layers keep the same size, otherwise a StackedRNN."""
        sizes = self._kept_sizes()
        me: Any = self
        options = {
            "bias": self.bias,
            "batch_first": self.batch_first,
            "bidirectional": self.bidirectional,
            "device": me.weight_hh_l0.device,
            "dtype": me.weight_hh_l0.dtype,
        }
        if isinstance(self, nn.RNN):
            options["nonlinearity"] = me.nonlinearity
        if self.proj_size:
            options["proj_size"] = self.full("proj_size") if self._project is None else self._project.size
        n_in = kept(self.in_width, self.input_size)
        rnn: Any = self.plain_class
        plain: nn.Module
        if len(set(sizes)) == 1:
            plain = rnn(n_in, sizes[0], self.num_layers, dropout=self.dropout, **options)
        else:
            plain = StackedRNN(self.plain_class.__name__, n_in, sizes, dropout=self.dropout, **options)
        kept_tensors = self.plain_tensors()
        for theirs, mine in self._plain_names().items():
            source, target = self._parameters[mine], plain.get_parameter(theirs)
            target.data.copy_(kept_tensors[theirs])
            target.requires_grad_(source is None or source.requires_grad)
        return plain.train(self.training)


def _own_weights(c: LayerCall, hidden: list[Axis], below: Axis, project: Axis | None) -> None:
    """What a layer's parameters are made of, should the network's code read them by themselves."""
    m = c.module
    gates, directions = m.weight_hh_l0.shape[0] // m.hidden_size, 1 + m.bidirectional
    for i, axis in enumerate(hidden):
        rows, state = make_axis(gates, *axis), project or axis
        kinds = {"weight_ih": (rows, below), "weight_hh": (rows, state), "weight_hr": (state, axis)}
        for key in (key for names in m._all_weights[i * directions :][:directions] for key in names):
            axes = kinds.get(key.split("_l")[0], (rows,))
            c.t.own(getattr(m, key), axes, f"{c.name} shares a parameter with another layer")
        below = make_axis(directions, *state)


def recurrent_axes(c: LayerCall, hidden: list[Axis], project: Axis | None, states: int) -> list[Axes]:
    """What one layer upon the other answers: features, and ``states`` (h, of an LSTM the cells as well).

    Args:
        c: the call.
        hidden: each layer's hidden size.
        project: the size of their projection, one for all, where they have one: that of the features, and of h.
        states: their number.
    """
    t, name, results = c.t, c.name, c.results
    x, directions = c.inputs[0], 2 if c.module.bidirectional else 1
    c.hidden = (*hidden, *([project] if project else []))
    equal = len(set(map(axis_size, hidden))) == 1

    def tie_layers() -> None:
        reason = f"the final states of {name} are read as one tensor{t.line}"
        for axis in hidden[1:]:
            if equal:
                unify(hidden[0], axis, reason)
        if not equal:
            t.fix_axes([tuple(hidden)], reason)

    given = [axes for axes in c.inputs[1:] if len(axes) > 1]  # what else a packed sequence has is of one dimension
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
    return [y, *indices, *finals]


def recurrent_price(op: Op, kind: str, layer: Any, layers: int) -> OpCost:
    """What so many layers like ``layer`` cost, one upon the other, in one or two directions."""
    hidden, projection = op.hidden[:layers], op.hidden[layers:]
    proj_size = getattr(layer, "proj_size", 0)
    if len(hidden) != layers or (projection and not proj_size):
        raise ValueError(f"{op.name}: {len(op.hidden)} hidden sizes for {layers} layers")
    projected = size(projection[0]) if projection else Polynomial.constant(proj_size) if proj_size else None
    total, directions, positions = OpCost(), 2 if layer.bidirectional else 1, numel(op.inputs[0][:-1])
    step = size(op.inputs[0][-1])
    for axis in hidden:
        one = recurrent_layer(kind, layer, step, size(axis), positions, projected)
        total = total + OpCost(directions * one.flops_full, directions * one.flops_paper, directions * one.params)
        step = directions * (projected or size(axis))
    return total


def _join(states: list[Tensor]) -> Tensor:
    """Final states of all layers, (L · D, B, H); layers narrower than the widest are filled with zeros."""
    widest = max(s.shape[-1] for s in states)
    return torch.cat([nn.functional.pad(s, (0, widest - s.shape[-1])) for s in states])


def _map_state(hx: Any, function: Any) -> Any:
    if hx is None:
        return None
    return tuple(function(s) for s in hx) if isinstance(hx, tuple) else function(hx)


class GRU(_Recurrent, nn.GRU):
    """torch.nn.GRU with learned hidden sizes. Shapes as torch.nn.GRU, H being the current size.

    Initial states may be given at full or at current size. Final states of layers of different sizes are
    joined with zeros behind the narrower ones.
    """

    plain_class = nn.GRU
    gates = 3
    has_cell = False
    kernel = "gru"


class LSTM(_Recurrent, nn.LSTM):
    """torch.nn.LSTM with learned hidden sizes. Shapes as torch.nn.LSTM, H being the current size.

    Initial and final states as for :class:`GRU`, as pairs (h, c).
    """

    plain_class = nn.LSTM
    arguments = (*_Recurrent.arguments, "proj_size")
    gates = 4
    has_cell = True
    kernel = "lstm"


class RNN(_Recurrent, nn.RNN):
    """torch.nn.RNN with learned hidden sizes. Shapes and states as for :class:`GRU`."""

    plain_class = nn.RNN
    arguments = (*_Recurrent.arguments, "nonlinearity")
    gates = 1
    has_cell = False

    @property
    def kernel(self) -> str:  # type: ignore[override]
        return f"rnn_{self.nonlinearity}"
