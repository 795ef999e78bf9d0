"""Functions that move, cut and join dimensions: what they do to Axes.

Each rule takes a Call and answers the axes of each result, or None where it cannot tell; what goes in is then fixed.
"""

from __future__ import annotations

from typing import Any

from dyn_lightning.graph.axes import Axis, axis_size, factor_size, fix_sizes, is_free, make_axis, normal
from dyn_lightning.graph.call import Call, Rule
from dyn_lightning.graph.ints import NotedInt
from dyn_lightning.graph.notes import Axes
from dyn_lightning.graph.pieces import (
    cat,
    gather,
    getitem,
    glu,
    index_add,
    index_select,
    narrow,
    scatter,
    select,
    split,
    stack,
)
from dyn_lightning.graph.tracer import Tracer
from dyn_lightning.graph.transforms import transform_of
from dyn_lightning.graph.unification import split_product, unify


def transpose(c: Call) -> list[Axes]:
    x = list(c.inputs[0])
    a = c.argument(1, "dim0", "axis0", default=-2)
    b = c.argument(2, "dim1", "axis1", default=-1)
    x[a], x[b] = x[b], x[a]
    return [tuple(x)]


def reverse(c: Call) -> list[Axes]:
    return [c.inputs[0][::-1]]


def permute(c: Call) -> list[Axes]:
    return [tuple(c.inputs[0][d] for d in c.numbers(1, "dims"))]


def movedim(c: Call) -> list[Axes] | None:
    x, source, target = c.inputs[0], c.argument(1, "source"), c.argument(2, "destination")
    if not isinstance(source, int):
        return None
    rest = [axis for i, axis in enumerate(x) if i != source % len(x)]
    rest.insert(target % len(x), x[source])
    return [tuple(rest)]


def reshape(c: Call) -> list[Axes] | None:
    """Split and merge dimensions, and see that the numbers given follow them."""
    target = [int(n) for n in c.results[0].shape]
    numbers: list[Any] = [-1] * len(target)
    if c.name in ("view", "reshape"):
        numbers = c.numbers(1, "shape", "size")
        if not all(isinstance(n, int) for n in numbers):
            return [c.inputs[0]] if len(c.inputs[0]) == len(target) else None
    elif c.name in ("view_as", "reshape_as"):
        numbers = [NotedInt(axis_size(axis), axis) for axis in c.inputs[1]]
    elif c.name == "unflatten":
        at = c.argument(1, "dim") % len(c.inputs[0])
        given = c.numbers(2, "sizes")
        numbers[at : at + len(given)] = given
    made = _regrouped([f for axis in c.inputs[0] for f in axis], target, numbers)
    if made is None:
        return None
    for number, axis in zip(numbers, made, strict=True):
        if number != -1:
            c.t.require(number, axis)
    return [tuple(map(normal, made))]


def _regrouped(factors: list[Any], target: list[int], numbers: list[Any]) -> list[Axis] | None:
    """Factors dealt out to dimensions of the given sizes, cut where a seam falls inside one."""
    factors = [f for f in factors if f != 1]
    made: list[Axis] = []
    for need, number in zip(target, numbers, strict=True):
        taken: list[Any] = []
        while need > 1:
            if not factors:
                return None
            factor = factors.pop(0)
            size = factor_size(factor)
            if need % size == 0:
                need //= size
                taken.append(factor)
                continue
            if size % need:
                return None
            literal = not isinstance(number, NotedInt) and number != -1
            pieces = split_product(factor, need, literal=literal)
            if pieces is None:
                return None
            taken.append(pieces[0])
            factors.insert(0, pieces[1])
            need = 1
        made.append(make_axis(*taken))
    return made if all(factor_size(f) == 1 for f in factors) else None


def squeeze(c: Call) -> list[Axes]:
    x, dims = c.inputs[0], c.argument(1, "dim")
    if dims is None:
        return [tuple(axis for axis in x if axis_size(axis) != 1)]
    gone = {d % len(x) for d in ([dims] if isinstance(dims, int) else dims)}
    return [tuple(a for i, a in enumerate(x) if i not in gone or axis_size(a) != 1)]


def unsqueeze(c: Call) -> list[Axes]:
    x = list(c.inputs[0])
    x.insert(c.argument(1, "dim") % (len(x) + 1), (1,))
    return [tuple(x)]


def expand(c: Call) -> list[Axes] | None:
    x, result = c.inputs[0], c.results[0]
    if c.name == "expand_as":
        numbers: list[Any] = [NotedInt(axis_size(axis), axis) for axis in c.inputs[1]]
    else:
        numbers = c.numbers(1, "size", "sizes")
    old = [(1,)] * (result.dim() - len(x)) + list(x)
    made = []
    for axis, number, n in zip(old, numbers, result.shape, strict=True):
        if axis_size(axis) == n:
            if number != -1:
                c.t.require(number, axis)
            made.append(axis)
        else:
            made.append(axis_from(c.t, number))
    return [tuple(made)]


def repeat(c: Call) -> list[Axes]:
    x, numbers = c.inputs[0], c.numbers(1, "repeats", "dims")
    old = [(1,)] * (len(numbers) - len(x)) + list(x)
    numbers = [1] * (len(old) - len(numbers)) + numbers
    made = [
        axis_from(c.t, n) if axis_size(a) == 1 else make_axis(int(n), *a) for n, a in zip(numbers, old, strict=True)
    ]
    return [tuple(map(normal, made))]


def repeat_interleave(c: Call) -> list[Axes] | None:
    repeats, dim = c.argument(1, "repeats"), c.argument(2, "dim")
    if not isinstance(repeats, int) or dim is None:
        return None
    x = list(c.inputs[0])
    x[dim] = normal((*x[dim], int(repeats)))
    return [tuple(x)]


def axis_from(t: Tracer, number: Any) -> Axis:
    """A new dimension of which only the number is known."""
    if not isinstance(number, NotedInt):
        return (int(number),)
    if isinstance(number.source, tuple):
        return normal(number.source)
    axis = t.new_size(f"a dimension made in {t.where}", int(number), weak=True)
    t.require(number, axis)
    return axis


def factory(c: Call) -> list[Axes] | None:
    """New tensors of given sizes: zeros, new_zeros, randn, …"""
    numbers = c.numbers(1 if c.name.startswith("new_") else 0, "size")
    shape = c.results[0].shape
    if len(numbers) != len(shape) or any(n != m for n, m in zip(numbers, shape, strict=True)):
        return [c.plain(c.results[0])]
    return [tuple(axis_from(c.t, n) for n in numbers)]


def arange(c: Call) -> list[Axes]:
    """Positions along a dimension are not those of fewer elements: a size that is counted out is fixed."""
    for number in (*c.args, *c.kwargs.values()):
        if isinstance(number, NotedInt) and isinstance(number.source, tuple):
            fix_sizes(number.source, f"its positions are counted in {c.t.where}{c.t.line}")
    return [c.plain(x) for x in c.results]


def kept_elsewhere(c: Call) -> list[Axes] | None:
    """Padding, sorting, resampling: a dimension whose length stays is the same; a learned one must stay."""
    made = []
    for out in c.results:
        if out.dim() != len(c.inputs[0]):
            return None
        axes = []
        for axis, n in zip(c.inputs[0], out.shape, strict=True):
            if is_free(axis) and axis_size(axis) != n:
                return None
            axes.append(axis if axis_size(axis) == n else (int(n),))
        made.append(tuple(axes))
    return made


def along(c: Call) -> list[Axes] | None:
    """Functions whose dimension ``dim`` must not be learned, since its order counts: cumsum, flip, sort, roll, topk."""
    dims = c.argument(2 if c.name in ("roll", "topk", "kthvalue") else 1, "dim", "dims", default=-1)
    if c.name == "roll" and len(c.args) < 3 and "dims" not in c.kwargs:
        dims = range(len(c.inputs[0]))  # all as one
    dims = [dims] if isinstance(dims, int) else list(dims if dims is not None else [])
    if any(is_free(c.inputs[0][d]) for d in dims):
        return None
    return kept_elsewhere(c)


def packed(c: Call) -> list[Axes] | None:
    """Packing sequences and its reverse: features stay last, time and batch are in the other dimensions."""
    if any(map(is_free, c.inputs[0][:-1])):
        return None
    sizes = [[(int(n),) for n in x.shape] for x in c.results]
    return [(*sizes[0][:-1], c.inputs[0][-1]), *map(tuple, sizes[1:])]


def pixel_shuffle(c: Call) -> list[Axes]:
    x, r = c.inputs[0], int(c.argument(1, "upscale_factor"))
    channels = c.t.new_size(f"{c.t.where} after pixel_shuffle", axis_size(x[-3]) // (r * r), weak=True)
    unify(normal((*channels, r * r)), x[-3], c.reason)
    return [(*x[:-3], normal(channels), *((int(n),) for n in c.results[0].shape[-2:]))]


def pixel_unshuffle(c: Call) -> list[Axes]:
    x, r = c.inputs[0], int(c.argument(1, "downscale_factor"))
    return [(*x[:-3], normal((*x[-3], r * r)), *((int(n),) for n in c.results[0].shape[-2:]))]


def windows(c: Call) -> list[Axes] | None:
    """Tensor.unfold: windows of a dimension that is not learned, put last."""
    if c.args and len(c.args) < 4 and "size" not in c.kwargs and c.results[0].dim() == 3 and len(c.inputs[0]) == 4:
        # F.unfold: channels × kernel in one dimension.
        batch, channels, *_ = c.inputs[0]
        _, rows, places = c.results[0].shape
        return [(batch, normal((*channels, int(rows) // axis_size(channels))), (int(places),))]
    x, dim = list(c.inputs[0]), c.argument(1, "dimension")
    if is_free(x[dim]):
        return None
    x[dim] = (int(c.results[0].shape[dim]),)
    return [(*x, (int(c.results[0].shape[-1]),))]


def transform(c: Call) -> list[Axes] | None:
    """torch.fft: what is transformed stays whole; the other dimensions stay what they are."""
    x, (_, dims) = c.inputs[0], transform_of(c)
    c.keep_whole([x[d] for d in dims], f"the function {c.name} in {c.t.where} transforms all of it{c.t.line}")
    return [tuple((int(n),) if d in dims else x[d] for d, n in enumerate(c.results[0].shape))]


def as_complex(c: Call) -> list[Axes] | None:
    """view_as_complex: real and imaginary part, the last dimension, go."""
    return None if is_free(c.inputs[0][-1]) else [c.inputs[0][:-1]]


def as_real(c: Call) -> list[Axes]:
    """view_as_real: real and imaginary part become a last dimension."""
    return [(*c.inputs[0], (2,))]


def retyped(c: Call) -> list[Axes]:
    """to, type_as: another tensor may say the type; the first keeps its dimensions."""
    return [c.inputs[0]]


def diagonal(c: Call) -> list[Axes] | None:
    if any(map(is_free, c.inputs[0])):
        return None
    return [c.plain(x) for x in c.results]


SHAPE_RULES: dict[str, Rule] = {
    **dict.fromkeys(("transpose", "swapaxes", "swapdims", "mT", "mH", "adjoint"), transpose),
    **dict.fromkeys(("t", "T", "H"), reverse),
    **dict.fromkeys(("view", "reshape", "view_as", "reshape_as", "flatten", "unflatten", "ravel"), reshape),
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), expand),
    **dict.fromkeys(("repeat", "tile"), repeat),
    **dict.fromkeys(("cat", "concat", "concatenate"), cat),
    **dict.fromkeys(("split", "chunk", "unbind", "split_with_sizes", "unsafe_chunk", "unsafe_split"), split),
    **dict.fromkeys(("pack_padded_sequence", "pad_packed_sequence"), packed),
    **dict.fromkeys(("interpolate", "upsample", "pad", "constant_pad_nd"), kept_elsewhere),
    **dict.fromkeys(
        ("cumsum", "cumprod", "flip", "sort", "argsort", "roll", "topk", "kthvalue", "logcumsumexp"), along
    ),
    "permute": permute,
    "movedim": movedim,
    "moveaxis": movedim,
    "squeeze": squeeze,
    "unsqueeze": unsqueeze,
    "repeat_interleave": repeat_interleave,
    "stack": stack,
    "narrow": narrow,
    "getitem": getitem,
    "index_select": index_select,
    "select": select,
    "gather": gather,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "unfold": windows,
    "glu": glu,
    **dict.fromkeys(("to", "type_as"), retyped),
    **dict.fromkeys(("index_add", "index_copy"), index_add),
    **dict.fromkeys(("scatter", "scatter_add", "scatter_reduce"), scatter),
    **{
        f"fft_{inverse}{kind}fft{n}": transform
        for inverse in ("", "i")
        for kind in ("", "r", "h")
        for n in ("", "2", "n")
    },
    "view_as_complex": as_complex,
    "view_as_real": as_real,
    "diagonal": diagonal,
}
FACTORIES = frozenset({
    "zeros", "ones", "empty", "randn", "rand", "full", "new_zeros", "new_ones", "new_empty", "new_full", "new_tensor",
})  # fmt: skip
