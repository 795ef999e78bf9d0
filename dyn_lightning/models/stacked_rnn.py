"""A stack of one-layer recurrent networks of different hidden sizes, called like torch.nn's multi-layer
ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.errors import SettingError


class StackedRNN(nn.Module):
    """torch.nn.GRU, LSTM or RNN layers whose hidden sizes differ.

    Called and answering like a multi-layer torch.nn.GRU, LSTM or RNN: ``output, state = rnn(input, state)``. Final
    states are joined as (layers · directions, batch, widest), zeros behind the narrower layers; initial
    states come in the same form.

    Args:
        kind: "GRU", "LSTM" or "RNN".
        input_size: features of the input.
        hidden_sizes: hidden size of each layer, first to last.
        dropout: probability between layers, in training.
        options: ``bias``, ``batch_first``, ``bidirectional``, ``nonlinearity``, ``proj_size``, ``device``, ``dtype``,
            as torch.nn has them.

    Raises:
        ValueError: for another ``kind``.
    """

    def __init__(
        self, kind: str, input_size: int, hidden_sizes: Sequence[int], *, dropout: float = 0.0, **options: Any
    ) -> None:
        super().__init__()
        kinds: dict[str, Any] = {"GRU": nn.GRU, "LSTM": nn.LSTM, "RNN": nn.RNN}
        if kind not in kinds:
            raise SettingError(f"kind must be GRU, LSTM or RNN, got {kind}")
        self.kind = kind
        self.dropout = dropout
        self.input_size = input_size
        self.hidden_sizes = tuple(hidden_sizes)
        self.bidirectional = bool(options.get("bidirectional", False))
        self.batch_first = bool(options.get("batch_first", False))
        self.proj_size = int(options.get("proj_size", 0))
        self.directions = 2 if self.bidirectional else 1
        layers = []
        for size in hidden_sizes:
            layers.append(kinds[kind](input_size, size, **options))
            input_size = (self.proj_size or size) * self.directions
        self.layers = nn.ModuleList(layers)

    def forward(self, input: Any, hx: Any = None) -> Any:
        x, finals = input, []
        for i, (layer, size) in enumerate(zip(self.layers, self.hidden_sizes, strict=True)):
            rows = slice(i * self.directions, (i + 1) * self.directions)
            if hx is None:
                state = None
            elif self.kind == "LSTM":
                sizes = (self.proj_size or size, size)
                state = tuple(s[rows][..., :n].contiguous() for s, n in zip(hx, sizes, strict=True))
            else:
                state = hx[rows][..., :size].contiguous()
            x, final = layer(x, state)
            finals.append(final if self.kind == "LSTM" else (final,))
            if self.dropout and i + 1 < len(self.layers):
                x = _dropout(x, self.dropout, self.training)
        joined = tuple(_join([f[j] for f in finals]) for j in range(len(finals[0])))
        return x, (joined if self.kind == "LSTM" else joined[0])

    def extra_repr(self) -> str:
        return f"{self.kind}, {self.input_size}, hidden_sizes={self.hidden_sizes}"


def _join(states: list[Tensor]) -> Tensor:
    widest = max(s.shape[-1] for s in states)
    return torch.cat([nn.functional.pad(s, (0, widest - s.shape[-1])) for s in states])


def _dropout(x: Any, p: float, training: bool) -> Any:
    if isinstance(x, nn.utils.rnn.PackedSequence):
        return x._replace(data=nn.functional.dropout(x.data, p, training))
    return nn.functional.dropout(x, p, training)
