"""Functions that cut a dimension into pieces, take some of it, or join pieces: what they do to Axes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dyn_lightning.graph.axes import Axis, Size, axis_size, concatenated, fix_sizes, is_free, normal
from dyn_lightning.graph.call import Call
from dyn_lightning.graph.notes import Axes
from dyn_lightning.graph.tracer import Tracer
from dyn_lightning.graph.unification import split_sum, unify, unify_all


def cat(c: Call) -> list[Axes] | None:
    dim = c.argument(1, "dim", "axis", default=0)
    joined = [(x, a) for x, a in zip(c.tensors, c.inputs, strict=True) if x.numel() or x.dim() > 1]
    if not joined:
        return None
    axes = [a for _, a in joined]
    if not isinstance(dim, int) or any(len(a) != len(axes[0]) for a in axes):
        return None
    made = []
    for d in range(len(axes[0])):
        here = [a[d] for a in axes]
        if d == dim % len(axes[0]):
            made.append(concatenated(here))
        else:
            made.append(unify_all(here, f"the function {c.name} in {c.t.where} joins it with a fixed size{c.t.line}"))
    return [tuple(made)]


def stack(c: Call) -> list[Axes] | None:
    dim = c.argument(1, "dim", default=0)
    if not isinstance(dim, int):
        return None
    reason = f"the function {c.name} in {c.t.where} joins it with a fixed size{c.t.line}"
    made = [unify_all([a[d] for a in c.inputs], reason) for d in range(len(c.inputs[0]))]
    made.insert(dim % (len(made) + 1), (len(c.inputs),))
    return [tuple(made)]


def split(c: Call) -> list[Axes] | None:
    """split, chunk and unbind: the pieces of one dimension."""
    x = list(c.inputs[0])
    if c.name == "unbind":
        dim = c.argument(1, "dim", default=0) % len(x)
        return None if is_free(x[dim]) else [tuple(a for i, a in enumerate(x) if i != dim)] * len(c.results)
    dim = c.argument(2, "dim", default=0) % len(x)
    lengths = [int(y.shape[dim]) for y in c.results]
    # Unequal pieces, or fewer than were asked for, hang on what the size is.
    uneven = c.name == "chunk" and (len(set(lengths)) > 1 or len(lengths) != int(c.argument(1, "chunks")))
    if uneven and is_free(x[dim]):
        return None
    pieces = split_sum(x[dim], lengths) if is_free(x[dim]) else [(n,) for n in lengths]
    if pieces is None:
        return None
    if c.name != "chunk":
        given = c.argument(1, "split_size_or_sections", "split_size", "split_sizes", "indices_or_sections")
        numbers = [given] * len(pieces) if isinstance(given, int) else list(given)
        for number, piece in zip(numbers, pieces, strict=False):
            if isinstance(number, int):
                c.t.require(number, piece)
    return [(*x[:dim], piece, *x[dim + 1 :]) for piece in pieces]


def narrow(c: Call) -> list[Axes] | None:
    x, dim = list(c.inputs[0]), c.argument(1, "dim")
    start, length = c.argument(2, "start"), c.argument(3, "length")
    piece = _slice(c.t, x[dim], slice(start, int(start) + int(length)), length) if isinstance(start, int) else None
    if piece is None:
        return None
    x[dim] = piece
    return [tuple(x)]


def _slice(t: Tracer, axis: Axis, index: slice, length: Any = None) -> Axis | None:
    """What a slice takes of one dimension; ``length``: the code gives this number, rather than where it stops."""
    full = axis_size(axis)
    if index == slice(None):
        return axis
    start, stop, step = (None if n is None else int(n) for n in (index.start, index.stop, index.step))
    places = range(full)[start:stop:step]
    if not is_free(axis):
        return (len(places),)
    if len(places) == full and places.step == 1:
        if length is not None or (index.stop is not None and index.stop == full):
            t.require(index.stop if length is None else length, axis)
        return axis
    if places.step > 1:
        return _every(axis, places)
    if places.step < 0 or not places:
        return None
    lengths = [places.start, len(places), full - places.stop]
    pieces = split_sum(axis, [n for n in lengths if n])
    if pieces is None:
        return None
    before = pieces[: 1 if places.start else 0]
    taken, *after = pieces[len(before) :]
    if start is not None and start < 0:
        t.require(-start, concatenated([taken, *after]))
    elif index.start is not None and before:
        t.require(index.start, concatenated(before))
    if length is not None:
        t.require(length, taken)
    elif stop is not None and stop < 0:
        t.require(-stop, concatenated(after))
    elif index.stop is not None:
        t.require(index.stop if stop == places.stop else places.stop, concatenated([*before, taken]))
    return normal(taken)


def _every(axis: Axis, places: range) -> Axis | None:
    """Every so-many-th element: the size is made of rows of that many."""
    full, axis = axis_size(axis), normal(axis)
    if full % places.step or len(places) != full // places.step or len(axis) != 1 or not isinstance(axis[0], Size):
        return axis[:-1] if len(axis) > 1 and axis[-1] == places.step and len(places) == full // places.step else None
    row = Size(axis[0].names[0], full // places.step, weak=axis[0].weak)
    axis[0].define((row, places.step))
    return (row,)


def index(t: Tracer, axes: Axes, at: Any, taken: list[Axis]) -> Axes | None:
    """The dimensions of ``x[at]``; ``taken`` gets those of x that are taken apart by numbers and so must stay whole."""
    x, entries = list(axes), list(at) if isinstance(at, tuple) else [at]
    if any(e is Ellipsis for e in entries):
        place = next(i for i, e in enumerate(entries) if e is Ellipsis)
        used = sum(_consumed(e) for e in entries if e is not Ellipsis)
        entries[place : place + 1] = [slice(None)] * (len(x) - used)
    advanced = [e for e in entries if isinstance(e, (Tensor, list))]
    if len(advanced) > 1:
        return None
    made: list[Axis] = []
    for entry in entries:
        if entry is None:
            made.append((1,))
            continue
        here = [x.pop(0) for _ in range(_consumed(entry))]
        if isinstance(entry, slice):
            piece = _slice(t, here[0], entry)
            if piece is None:
                return None
            made.append(piece)
            continue
        taken += filter(is_free, here)
        if isinstance(entry, Tensor) and entry.dtype.is_floating_point is False and str(entry.dtype) != "torch.bool":
            made += t.axes(entry)
        elif isinstance(entry, list):
            made.append((len(entry),))
        elif isinstance(entry, Tensor):
            made.append((int(entry.sum()),))
    return (*made, *x)


def _consumed(entry: Any) -> int:
    if entry is None:
        return 0
    return entry.dim() if isinstance(entry, Tensor) and str(entry.dtype) == "torch.bool" else 1


def getitem(c: Call) -> list[Axes] | None:
    taken: list[Axis] = []
    made = index(c.t, c.inputs[0], c.args[1], taken)
    if made is None or len(made) != c.results[0].dim():
        return None
    c.keep_whole(taken, f"its elements are named by numbers in {c.t.where}{c.t.line}")
    return [made]


def set_item(t: Tracer, x: Tensor, at: Any, value: Any) -> None:
    """``x[at] = value``: the two must agree, or both are fixed. One value where a mask is true: the mask is as x is."""
    axes = t.axes(x)
    values = t.axes(value) if isinstance(value, Tensor) else ()
    reason = f"a part of a tensor is written in {t.where}{t.line}"
    if isinstance(at, Tensor) and at.dtype == torch.bool and all(axis_size(axis) == 1 for axis in values):
        for a, b in zip(axes, t.axes(at), strict=False):
            unify(a, b, reason)
        return
    taken: list[Axis] = []
    region = index(t, axes, at, taken)
    if region is None:
        t.fix_axes([axes, values], reason)
        return
    t.fix_axes([tuple(taken)], reason)
    for a, b in zip(region[::-1], values[::-1], strict=False):
        if axis_size(a) == axis_size(b):
            unify(a, b, reason)
        elif axis_size(b) != 1:
            fix_sizes(b, reason)


def index_select(c: Call) -> list[Axes] | None:
    x, dim = list(c.inputs[0]), c.argument(1, "dim")
    if is_free(x[dim]):
        return None
    x[dim] = (int(c.results[0].shape[dim]),)
    return [tuple(x)]


def index_add(c: Call) -> list[Axes] | None:
    """index_add, index_copy: (x, dim, index, source), along a dimension that is not learned; x and source are alike."""
    x, dim, source = c.inputs[0], c.argument(1, "dim"), c.inputs[-1]
    if not isinstance(dim, int) or is_free(x[dim]) or len(source) != len(x):
        return None
    for i, (a, b) in enumerate(zip(x, source, strict=True)):
        if i != dim % len(x):
            unify(a, b, c.reason)
    return [tuple(map(normal, x))]


def scatter(c: Call) -> list[Axes] | None:
    """scatter, scatter_add: (x, dim, index, source or number), along a dimension that is not learned."""
    x, dim, others = c.inputs[0], c.argument(1, "dim"), c.inputs[1:]
    if not isinstance(dim, int) or is_free(x[dim]):
        return None
    for i, axis in enumerate(x):
        for other in others:
            if i != dim % len(x) and len(other) == len(x):
                if axis_size(other[i]) != axis_size(axis):
                    return None
                unify(axis, other[i], c.reason)
    return [tuple(map(normal, x))]


def gather(c: Call) -> list[Axes] | None:
    """gather, take_along_dim: along a dimension that is not learned; the others are the index's."""
    dim = c.argument(1, "dim")
    x, at = c.inputs[0], c.inputs[1]
    if not isinstance(dim, int) or is_free(x[dim]):
        return None
    for i, (a, b) in enumerate(zip(x, at, strict=True)):
        if i != dim % len(x) and axis_size(a) == axis_size(b):
            unify(a, b, c.reason)
        elif i != dim % len(x):
            fix_sizes(a, c.reason)
    return [tuple(map(normal, at))]


def select(c: Call) -> list[Axes] | None:
    x, dim = list(c.inputs[0]), c.argument(1, "dim")
    if is_free(x[dim]):
        return None
    del x[dim]
    return [tuple(x)]


def glu(c: Call) -> list[Axes] | None:
    x, dim = list(c.inputs[0]), c.argument(1, "dim", default=-1)
    pieces = split_sum(x[dim], [axis_size(x[dim]) // 2] * 2)
    if pieces is None:
        return None
    x[dim] = unify(pieces[0], pieces[1], c.reason)
    return [tuple(x)]
