"""Functions that move dimensions about: what they do to Axes (see :mod:`dyn_lightning.graph`).

Each rule takes (inputs, results, args, kwargs) and answers the axes of each result, or None where it cannot
tell; the sizes involved are then fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from dyn_lightning.graph import Axis, axis_size, axis_sizes, make_axis

Axes = tuple[Axis, ...]
Rule = Callable[[tuple[Axes, ...], list[Tensor], Any, Any], list[Axes] | None]


def _free(axis: Axis) -> bool:
    return any(True for _ in axis_sizes(axis))


def _argument(args: Any, kwargs: Any, position: int, *names: str, default: Any = None) -> Any:
    for name in names:
        if name in kwargs:
            return kwargs[name]
    return args[position] if len(args) > position else default


def _transpose(inputs: tuple[Axes, ...], results: list[Tensor], args: Any, kwargs: Any) -> list[Axes]:
    x = list(inputs[0])
    a = _argument(args, kwargs, 1, "dim0", "axis0", default=-2)
    b = _argument(args, kwargs, 2, "dim1", "axis1", default=-1)
    x[a], x[b] = x[b], x[a]
    return [tuple(x)]


def _reverse(inputs: tuple[Axes, ...], results: list[Tensor], args: Any, kwargs: Any) -> list[Axes]:
    return [inputs[0][::-1]]


def _permute(inputs: tuple[Axes, ...], results: list[Tensor], args: Any, kwargs: Any) -> list[Axes]:
    dims = kwargs.get("dims", args[1:])
    dims = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    return [tuple(inputs[0][d] for d in dims)]


def _reshape(inputs: tuple[Axes, ...], results: list[Tensor], args: Any, kwargs: Any) -> list[Axes] | None:
    """Split and merge dimensions: old and new ones are cut into the smallest runs of equal product."""
    factors = [f for axis in inputs[0] for f in axis]
    made: list[Axis] = []
    for target in results[0].shape:
        taken: list[Any] = []
        need = int(target)
        while need > 1:
            if not factors:
                return None
            factor = factors.pop(0)
            size = axis_size((factor,))
            if need % size == 0:
                need //= size
                taken.append(factor)
            elif isinstance(factor, int) and factor % need == 0:
                taken.append(need)
                factors.insert(0, factor // need)
                need = 1
            else:
                return None
        made.append(make_axis(*taken))
    return [tuple(made)] if axis_size(make_axis(*factors)) == 1 else None


def _squeeze(inputs: tuple[Axes, ...], results: list[Tensor], args: Any, kwargs: Any) -> list[Axes]:
    x, dims = inputs[0], _argument(args, kwargs, 1, "dim")
    if dims is None:
        return [tuple(axis for axis in x if axis_size(axis) != 1)]
    gone = {d % len(x) for d in ([dims] if isinstance(dims, int) else dims)}
    return [tuple(a for i, a in enumerate(x) if i not in gone or axis_size(a) != 1)]


def _unsqueeze(inputs: tuple[Axes, ...], results: list[Tensor], args: Any, kwargs: Any) -> list[Axes]:
    x = list(inputs[0])
    dim = _argument(args, kwargs, 1, "dim")
    x.insert(dim % (len(x) + 1), (1,))
    return [tuple(x)]


def _getitem(inputs: tuple[Axes, ...], results: list[Tensor], args: Any, kwargs: Any) -> list[Axes] | None:
    x = list(inputs[0])
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    if any(isinstance(i, (Tensor, list)) for i in index):
        return None
    if Ellipsis in index:
        at = index.index(Ellipsis)
        used = sum(1 for i in index if i is not None and i is not Ellipsis)
        index = (*index[:at], *[slice(None)] * (len(x) - used), *index[at + 1 :])
    made: list[Axis] = []
    for i in index:
        if i is None:
            made.append((1,))
            continue
        axis = x.pop(0)
        if isinstance(i, int):
            if _free(axis):
                return None
        elif i == slice(None):
            made.append(axis)
        elif _free(axis) or not isinstance(i, slice):
            return None
        else:
            made.append((len(range(axis_size(axis))[i]),))
    return [(*made, *x)]


def _unchanged_elsewhere(inputs: tuple[Axes, ...], results: list[Tensor], args: Any, kwargs: Any) -> list[Axes] | None:
    """Padding, repetition, splitting: a dimension whose length stays is the same; a learned one must stay."""
    made = []
    for out in results:
        if out.dim() != len(inputs[0]):
            return None
        axes = []
        for axis, n in zip(inputs[0], out.shape, strict=True):
            if _free(axis) and axis_size(axis) != n:
                return None
            axes.append(axis if axis_size(axis) == n else (int(n),))
        made.append(tuple(axes))
    return made


def _index_select(inputs: tuple[Axes, ...], results: list[Tensor], args: Any, kwargs: Any) -> list[Axes] | None:
    x = list(inputs[0])
    dim = _argument(args, kwargs, 1, "dim")
    if _free(x[dim]):
        return None
    x[dim] = (int(results[0].shape[dim]),)
    return [tuple(x)]


def _packed(inputs: tuple[Axes, ...], results: list[Tensor], args: Any, kwargs: Any) -> list[Axes] | None:
    """Packing sequences and its reverse: features stay last, time and batch are in the other dimensions."""
    if any(map(_free, inputs[0][:-1])):
        return None
    sizes = [[(int(n),) for n in x.shape] for x in results]
    return [(*sizes[0][:-1], inputs[0][-1]), *map(tuple, sizes[1:])]


SHAPE_RULES: dict[str, Rule] = {
    "transpose": _transpose,
    "swapaxes": _transpose,
    "swapdims": _transpose,
    "t": _reverse,
    "T": _reverse,
    "mT": _transpose,
    "permute": _permute,
    "reshape": _reshape,
    "view": _reshape,
    "flatten": _reshape,
    "unflatten": _reshape,
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "getitem": _getitem,
    "index_select": _index_select,
    "pack_padded_sequence": _packed,
    "pad_packed_sequence": _packed,
    "interpolate": _unchanged_elsewhere,
    "pad": _unchanged_elsewhere,
    "expand": _unchanged_elsewhere,
    "narrow": _unchanged_elsewhere,
    "chunk": _unchanged_elsewhere,
    "split": _unchanged_elsewhere,
}
