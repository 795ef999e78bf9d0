"""Tables of vectors and single steps of recurrent layers, able to follow Widths."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.layers.base import DynamicLayer, Size, kept
from dyn_lightning.widths.layout import Layout


class Embedding(DynamicLayer, nn.Embedding):
    """torch.nn.Embedding with a learned size of its vectors. Shapes: (…) → (…, size)."""

    plain_class = nn.Embedding

    def __init__(self, *args: Any, out_width: Size | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bind(out_width=out_width)

    def layouts(self) -> dict[str, tuple[Layout | None, ...]]:
        return {"weight": (None, self.out_width)}

    def plain_sizes(self) -> dict[str, Any]:
        return {"embedding_dim": kept(self.out_width, self.embedding_dim)}

    def forward(self, input: Tensor) -> Tensor:
        y = F.embedding(
            input,
            self.cut("weight"),
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )
        return self.noise(y, -1)


class _Cell(DynamicLayer):
    """Shared by the cells: the hidden size is made and followed, for the state comes back.

    Shapes as torch.nn's, with H the current size; a state may be given at full or at current size.
    """

    gates: int
    hidden_size: int
    input_size: int

    def __init__(self, *args: Any, out_width: Size | None = None, in_width: Size | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bind(out_width=out_width, in_width=in_width)

    def layouts(self) -> dict[str, tuple[Layout | None, ...]]:
        out = self.out_width
        rows = None if out is None else Layout(self.gates, out)
        return {"weight_ih": (rows, self.in_width), "weight_hh": (rows, out), "bias_ih": (rows,), "bias_hh": (rows,)}

    def plain_sizes(self) -> dict[str, Any]:
        return {
            "input_size": kept(self.in_width, self.input_size),
            "hidden_size": kept(self.out_width, self.hidden_size),
        }

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
