"""Single steps of recurrent layers, able to follow Widths."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.costs.base import OpCost, numel, size
from dyn_lightning.costs.weighted import GATES, recurrent_layer
from dyn_lightning.graph import Op, make_axis, normal, unify
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.notes import Axes
from dyn_lightning.layers.base import DynamicLayer
from dyn_lightning.widths.layout import Layout


class _Cell(DynamicLayer):
    """Shared by the cells: the hidden size is made and followed, for the state comes back.

    Shapes as torch.nn's, with H the current size; a state may be given at full or at current size.
    """

    gates: int
    hidden_size: int
    input_size: int

    sizes = {"input_size": "in_width", "hidden_size": "out_width"}
    by_hand = {"weight_ih": (None, "in_width"), "weight_hh": (None, "out_width")}

    @staticmethod
    def trace(c: LayerCall) -> list[Axes]:
        """Input and, where given, state (and cell state)."""
        m, x = c.module, c.inputs[0]
        known = c.t.known(m.weight_hh)
        hidden = normal(known[1]) if known else c.make("out_width", m.hidden_size)
        rows = make_axis(m.weight_hh.shape[0] // m.hidden_size, *hidden)
        c.t.own(m.weight_ih, (rows, x[-1]), c.reason)
        c.t.own(m.weight_hh, (rows, hidden), c.reason)
        for bias in (m.bias_ih, m.bias_hh):
            if bias is not None:
                c.t.own(bias, (rows,), c.reason)
        for state in c.inputs[1:]:
            unify(hidden, state[-1], c.reason)
        c.bind(in_width=x[-1], out_width=hidden)
        c.hidden = (hidden,)
        return [(*x[:-1], hidden)] * len(c.results)

    @staticmethod
    def price(op: Op) -> OpCost:
        x, hidden = op.inputs[0], op.hidden[0] if op.hidden else op.outputs[0][-1]
        kind = next(name for name in GATES if isinstance(op.module, getattr(nn, f"{name}Cell")))
        return recurrent_layer(kind, op.module, size(x[-1]), size(hidden), numel(x[:-1]))

    def layouts(self) -> dict[str, tuple[Layout | None, ...]]:
        out = self.out_width
        rows = None if out is None else Layout(self.gates, out)
        return {"weight_ih": (rows, self.in_width), "weight_hh": (rows, out), "bias_ih": (rows,), "bias_hh": (rows,)}

    def _weights(self) -> list[Any]:
        return [self.cut(name) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        if input.dim() > 1:
            return self._step(input, hx)
        state = tuple(s.unsqueeze(0) for s in hx) if isinstance(hx, tuple) else None if hx is None else hx.unsqueeze(0)
        out = self._step(input.unsqueeze(0), state)
        return tuple(s.squeeze(0) for s in out) if isinstance(out, tuple) else out.squeeze(0)

    def _step(self, input: Tensor, hx: Any) -> Any:
        raise NotImplementedError

    def _state(self, input: Tensor, state: Tensor | None) -> Tensor:
        out = self.out_width
        if state is None:
            size = self.full("hidden_size") if out is None else out.current
            return input.new_zeros(*input.shape[:-1], size)
        if out is not None and state.shape[-1] == self.full("hidden_size"):
            return out.take(state, -1 % state.dim())
        return state


class GRUCell(_Cell, nn.GRUCell):
    """torch.nn.GRUCell with a learned hidden size."""

    plain_class = nn.GRUCell
    gates = 3

    def _step(self, input: Tensor, hx: Tensor | None) -> Tensor:
        return self.noise(torch.gru_cell(input, self._state(input, hx), *self._weights()), -1)


class RNNCell(_Cell, nn.RNNCell):
    """torch.nn.RNNCell with a learned hidden size."""

    plain_class = nn.RNNCell
    gates = 1

    def _step(self, input: Tensor, hx: Tensor | None) -> Tensor:
        step: Any = torch.rnn_tanh_cell if self.nonlinearity == "tanh" else torch.rnn_relu_cell
        return self.noise(step(input, self._state(input, hx), *self._weights()), -1)


class LSTMCell(_Cell, nn.LSTMCell):
    """torch.nn.LSTMCell with a learned hidden size. Answers (h, c)."""

    plain_class = nn.LSTMCell
    gates = 4

    def _step(self, input: Tensor, hx: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        h, c = (None, None) if hx is None else hx
        state = (self._state(input, h), self._state(input, c))
        h, c = torch.lstm_cell(input, state, *self._weights())
        return self.noise(h, -1), c
