"""A stack of one-layer recurrent networks of different hidden sizes, called like torch.nn's multi-layer
ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.errors import SettingError

_WEIGHT = re.compile(r"((?:weight|bias)_(?:ih|hh|hr))_l(\d+)(_reverse)?")


class StackedRNN(nn.Module):
    """torch.nn.GRU, LSTM or RNN layers whose hidden sizes differ.

    Called and answering like a multi-layer torch.nn.GRU, LSTM or RNN: ``output, state = rnn(input, state)``, with the
    attributes and methods of torch.nn.RNNBase, weights by their names (``weight_hh_l1``) among them. Final
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
        SettingError: for another ``kind``.
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

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def hidden_size(self) -> int:
        """The widest layer's, which states are as wide as."""
        return max(self.hidden_sizes)

    @property
    def _first(self) -> Any:
        return self.layers[0]

    @property
    def bias(self) -> bool:
        return bool(self._first.bias)

    @property
    def mode(self) -> str:
        return str(self._first.mode)

    @property
    def nonlinearity(self) -> str:
        """Of RNN alone. Raises AttributeError for the others, as torch.nn does."""
        if self.kind != "RNN":
            raise AttributeError(f"a StackedRNN of {self.kind} has no nonlinearity")
        return str(self._first.nonlinearity)

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """For each layer and direction its parameters, first layer first."""
        layers: Any = self.layers
        return [weights for layer in layers for weights in layer.all_weights]

    @property
    def _flat_weights(self) -> list[nn.Parameter]:
        return [w for weights in self.all_weights for w in weights]

    @property
    def _all_weights(self) -> list[list[str]]:
        layers: Any = self.layers
        return [
            [name.replace("_l0", f"_l{i}") for name in names]
            for i, layer in enumerate(layers)
            for names in layer._all_weights
        ]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    def __getattr__(self, name: str) -> Any:
        found = _WEIGHT.fullmatch(name)
        layers: Any = self.__dict__.get("_modules", {}).get("layers")
        if found and layers is not None and int(found[2]) < len(layers):
            return getattr(layers[int(found[2])], f"{found[1]}_l0{found[3] or ''}")
        return super().__getattr__(name)

    def flatten_parameters(self) -> None:
        """Lay each layer's parameters out in one piece, as cuDNN wants them."""
        layers: Any = self.layers
        for layer in layers:
            layer.flatten_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        layers: Any = self.layers
        for layer in layers:
            layer.reset_parameters()

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """Raises ValueError or RuntimeError where the input is not of the right type or size, as torch.nn does."""
        self._first.check_input(input, batch_sizes)

    def get_expected_hidden_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """Shape of an initial state, h of an LSTM: (layers · directions, batch, widest)."""
        _, batch, _ = self._first.get_expected_hidden_size(input, batch_sizes)
        return self.num_layers * self.directions, batch, self.proj_size or self.hidden_size

    def get_expected_cell_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """Shape of an LSTM's initial c."""
        return (*self.get_expected_hidden_size(input, batch_sizes)[:2], self.hidden_size)

    def check_hidden_size(
        self, hx: Tensor, expected_hidden_size: tuple[int, int, int], msg: str = "Expected hidden size {}, got {}"
    ) -> None:
        """Raises RuntimeError where a state has another shape."""
        self._first.check_hidden_size(hx, expected_hidden_size, msg)

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        """Raises ValueError or RuntimeError where input or state are not of the right type or size."""
        self.check_input(input, batch_sizes)
        states = hidden if self.kind == "LSTM" else (hidden,)
        shapes = (self.get_expected_hidden_size, self.get_expected_cell_size)
        for state, shape in zip(states, shapes, strict=False):
            self.check_hidden_size(state, shape(input, batch_sizes))

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        """A state with its batch entries in another order."""
        if permutation is None:
            return hx
        return tuple(s[:, permutation] for s in hx) if isinstance(hx, tuple) else hx[:, permutation]

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
