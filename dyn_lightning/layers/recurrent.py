"""GRU and LSTM able to follow Widths, one hidden size for each layer.

H hidden size of a layer, D directions, B batch, T time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from dyn_lightning.layers.base import DynamicLayer, Size, kept
from dyn_lightning.modules.stacked_rnn import StackedRNN
from dyn_lightning.widths.layout import Layout
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

    def __init__(
        self,
        *args: Any,
        hidden_widths: tuple[Width | None, ...] | None = None,
        in_width: Size | None = None,
        proj_width: Width | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.bind(hidden_widths=hidden_widths, in_width=in_width, proj_width=proj_width)

    def bind(self, **widths: Any) -> None:
        if widths.get("proj_width") is not None and not self.proj_size:
            raise ValueError("proj_width is the size of a projection: this layer has none (proj_size=0)")
        hidden = widths.get("hidden_widths")
        if hidden is not None and len(hidden) != self.num_layers:
            raise ValueError(f"{self.num_layers} layers need as many hidden widths, got {len(hidden)}")
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

    def plain_sizes(self) -> dict[str, Any]:
        raise NotImplementedError("a recurrent layer builds its plain form itself")

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
            return [x.new_zeros(self.directions, batch, size) for _, size, _ in sizes]
        states = hx if self.has_cell else (hx,)
        rows = slice(layer * self.directions, (layer + 1) * self.directions)
        found = []
        for state, (width, size, full) in zip(states, sizes, strict=True):
            part = state[rows]
            if packed is not None and packed.sorted_indices is not None:
                part = part[:, packed.sorted_indices]
            if part.shape[-1] == full and width is not None:
                part = Layout(width).take(part, 2)
            # What this layer answered before comes back with zeros behind it where another layer is wider.
            found.append(part[..., :size].contiguous())
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
    gates = 4
    has_cell = True
    kernel = "lstm"


class RNN(_Recurrent, nn.RNN):
    """torch.nn.RNN with learned hidden sizes. Shapes and states as for :class:`GRU`."""

    plain_class = nn.RNN
    gates = 1
    has_cell = False

    @property
    def kernel(self) -> str:  # type: ignore[override]
        return f"rnn_{self.nonlinearity}"
