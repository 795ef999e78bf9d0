"""Rules for functions whose results' size hangs on values, or whose kernels trust what they are given.

A rule takes a call's arguments by name and gives the bytes that it will take, or None where shapes alone tell it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
Given = Mapping[str, Any]
_GATES = {aten.gru: 3, aten.lstm: 4, aten.rnn_tanh: 1, aten.rnn_relu: 1}
_INDEX_BYTES = 8


def _recurrent(gates: int) -> Callable[[Given], int]:
    """The kernels of recurrent layers trust the shapes of their weights."""

    def rule(given: Given) -> int:
        x, state, weights, layers = given["input"], given["hx"], given["params"], given["num_layers"]
        first = state if isinstance(state, Tensor) else state[0]
        states = [first] if isinstance(state, Tensor) else list(state)
        hidden = states[-1].shape[-1]  # of an LSTM with a projection: of the cell
        directions = 2 if given["bidirectional"] else 1
        projected = first.shape[-1] != hidden
        per_layer = 2 + (2 if given["has_biases"] else 0) + (1 if projected else 0)
        batch = x.shape[0 if given["batch_first"] else 1] if x.dim() == 3 else 0
        _require(x.dim() == 3 and x.numel() > 0 and 1 <= layers <= len(weights), "an input of three dimensions")
        _require(all(s.dim() == 3 and s.shape[:2] == (layers * directions, batch) for s in states), "states that fit")
        _require(len(weights) == layers * directions * per_layer, "as many weights as its layers have")
        rows, size_out, given_in = gates * hidden, first.shape[-1], x.shape[-1]
        for i in range(layers * directions):
            own = weights[i * per_layer : (i + 1) * per_layer]
            size_in = given_in if i < directions else size_out * directions
            expected = [(rows, size_in), (rows, size_out), *([(rows,)] * 2 if given["has_biases"] else [])]
            expected += [(size_out, hidden)] if projected else []
            _require([tuple(w.shape) for w in own] == expected, "weights of its sizes")
        steps = x.numel() // given_in
        return int(x.element_size() * directions * steps * (rows + size_out))

    return rule


def _attention(given: Given) -> int | None:
    """Where torch has a kernel for it that makes no table of all pairs."""
    query, key, value, mask = given["query"], given["key"], given["value"], given["attn_mask"]
    plain = all(t.dim() == 4 and t.shape[:2] == query.shape[:2] for t in (key, value))
    fits = plain and key.shape[2] == value.shape[2] and query.shape[3] == key.shape[3] == value.shape[3]
    if fits and query.numel() and key.numel() and not given["dropout_p"] and (mask is None or mask.dim() in (2, 4)):
        return int(2 * query.numel() * query.element_size() + (0 if mask is None else 4 * mask.numel()))
    return None


def _nonzero(given: Given) -> int:
    return int(given["self"].numel() * max(given["self"].dim(), 1) * _INDEX_BYTES)


def _masked(given: Given) -> int:
    shape = torch.broadcast_shapes(given["self"].shape, given["mask"].shape)
    return math.prod(shape) * int(given["self"].element_size())


def _repeat_interleave(given: Given) -> int | None:
    repeats = given["repeats"]
    if not isinstance(repeats, Tensor):
        return None
    _require(repeats.dim() <= 1 and (repeats.numel() == 0 or int(repeats.min()) >= 0), "repeats of 0 or more")
    total = int(repeats.sum()) * (given["self"].numel() if "self" in given and repeats.numel() <= 1 else 1)
    if "self" not in given:
        return total * _INDEX_BYTES
    x, dim = given["self"], given["dim"]
    rows = x.numel() if dim is None else x.shape[dim]
    return int(total * max(x.numel() // max(rows, 1), 1) * x.element_size())


def _one_hot(given: Given) -> int:
    index, classes = given["self"], given["num_classes"]
    count = classes if classes >= 0 or not index.numel() else int(index.max()) + 1
    return int(index.numel() * max(count, 1) * _INDEX_BYTES)


def _index(given: Given) -> int | None:
    """Masks among the indices: no more rows than the mask has elements."""
    indices = given["indices"]
    if not any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices):
        return None
    x, used = (
        given["self"],
        sum(1 if i is None or i.dtype not in (torch.bool, torch.uint8) else i.dim() for i in indices),
    )
    _require(used <= x.dim(), "indices of the dimensions there are")
    rows = max(i.numel() for i in indices if i is not None)
    others = math.prod(x.shape[used:]) * math.prod(x.shape[d] for d, i in enumerate(indices) if i is None)
    return int(rows * others * x.element_size())


def _same(given: Given) -> int:
    return int(given["self"].numel() * given["self"].element_size())


def _nothing(_: Given) -> int:
    return 0


def _istft(given: Given) -> int:
    x, n_fft = given["self"], given["n_fft"]
    hop = given["hop_length"] or n_fft // 4
    _require(x.dim() >= 2 and 1 <= hop <= n_fft, "a hop between 1 and n_fft")
    _require(x.shape[-2] in (n_fft, n_fft // 2 + 1), "n_fft bins")
    frames = x.shape[-1]
    samples = max((frames - 1) * hop + n_fft, given["length"] or 0)
    return int(math.prod(x.shape[:-2]) * (samples + 2 * frames * n_fft) * x.element_size())


RULES: dict[object, Callable[[Given], int | None]] = {
    **{function: _recurrent(gates) for function, gates in _GATES.items()},
    aten.scaled_dot_product_attention: _attention,
    aten.nonzero: _nonzero,
    aten.masked_select: _masked,
    aten.masked_scatter: _masked,
    aten.repeat_interleave: _repeat_interleave,
    aten.one_hot: _one_hot,
    aten.index: _index,
    aten.index_put: _same,
    aten.item: _nothing,
    aten._local_scalar_dense: _nothing,
    **dict.fromkeys((aten.sym_size, aten.sym_numel, aten.sym_stride, aten.sym_storage_offset), _nothing),
    aten.istft: _istft,
}
BY_VALUE = frozenset({aten.nonzero, aten.masked_select, aten.repeat_interleave, aten.one_hot, aten.index, aten.item})
BY_VALUE |= {aten._local_scalar_dense}


def _batch_norm(given: Given) -> None:
    x = given["input"]
    _require(x.dim() >= 2, "an input of two dimensions or more")
    names = ("weight", "bias", "running_mean", "running_var")
    held = [given[name] for name in names if isinstance(given.get(name), Tensor)]
    _require(all(tuple(t.shape) == (x.shape[1],) for t in held), "a value for each channel")


def _embedding_bag(given: Given) -> None:
    weight, indices, offsets = given["weight"], given["indices"], given["offsets"]
    _require(weight.dim() == 2 and indices.dim() == 1 and offsets.dim() == 1, "indices and offsets of one dimension")
    _require(given["mode"] in (0, 1, 2), "a mode of 0, 1 or 2")
    if indices.numel():
        _require(int(indices.min()) >= 0 and int(indices.max()) < weight.shape[0], "indices of rows there are")
    if offsets.numel():
        _require(int(offsets[0]) == 0 and int(offsets[-1]) <= indices.numel(), "offsets within the indices")
        _require(bool((offsets.diff() >= 0).all()), "offsets in order")


def _grid_sampler(given: Given) -> None:
    _require(given["interpolation_mode"] in (0, 1, 2) and given["padding_mode"] in (0, 1, 2), "modes of 0, 1 or 2")


def _weight_norm(given: Given) -> None:
    v, g, dim = given["v"], given["g"], given["dim"]
    _require(v.dim() > 0 and -v.dim() <= dim < v.dim() and g.numel() == v.shape[dim], "a norm for each row")


def _reflection(given: Given) -> None:
    _require(
        len(given["padding"]) % 2 == 0 and 0 < len(given["padding"]) <= 2 * given["self"].dim(), "paddings in pairs"
    )


CHECKS: dict[object, Callable[[Given], None]] = {
    aten._native_batch_norm_legit_no_training: _batch_norm,
    aten.batch_norm: _batch_norm,
    aten.instance_norm: _batch_norm,
    aten.embedding_bag: _embedding_bag,
    aten.grid_sampler: _grid_sampler,
    aten.grid_sampler_2d: _grid_sampler,
    aten.grid_sampler_3d: _grid_sampler,
    aten._weight_norm: _weight_norm,
    **dict.fromkeys((aten.reflection_pad1d, aten.reflection_pad2d, aten.reflection_pad3d), _reflection),
    **dict.fromkeys((aten.replication_pad1d, aten.replication_pad2d, aten.replication_pad3d), _reflection),
}


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"it takes {what}")
