"""Functions that multiply by weights or by one another, and norms: what they do to Axes. Layers use them as well."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dyn_lightning.graph.axes import Axis, axis_size, fix_sizes, keep_multiples, make_axis, normal
from dyn_lightning.graph.call import Call
from dyn_lightning.graph.equations import einsum_terms
from dyn_lightning.graph.notes import Axes
from dyn_lightning.graph.tracer import Tracer
from dyn_lightning.graph.unification import unify, unify_all

GROUPED_ROW_BYTES = 16


def linear_axes(x: Axes, weight: Axes, reason: str) -> Axes:
    """x (…, in), weight (out, in)."""
    unify(x[-1], weight[1], reason)
    return (*x[:-1], normal(weight[0]))


def linear(c: Call) -> list[Axes]:
    y = linear_axes(c.inputs[0], c.inputs[1], c.reason)
    if len(c.inputs) > 2:
        unify(y[-1], c.inputs[2][-1], c.reason)
    return [tuple(map(normal, y))]


def group_axes(t: Tracer, channels: Axis, groups: Any, reason: str, *, own: bool = False) -> tuple[Axis, Axis]:
    """Channels as (groups, channels of each): for a group of each channel's own the groups are the channels.

    ``own``: the number is a layer's, which is cut as a whole; otherwise the network's code gives it.
    """
    n, full = int(groups), axis_size(channels)
    if n == 1:
        return (1,), channels
    if n == full:
        if not own:
            t.require(groups, channels)
        return normal(channels), (1,)
    within = t.new_size(f"channels of each group in {t.where}", full // n, weak=True)
    unify(make_axis(n, *within), channels, reason)
    return (n,), normal(within)


def conv_axes(
    t: Tracer, x: Axes, weight: Axes, out: Tensor, groups: Any, *, transposed: bool, reason: str, own: bool = False
) -> tuple[Axes, Axis]:
    """The result's axes, and the input channels of each group: weight is (out, in / groups, …), or transposed."""
    spatial = len(weight) - 2
    at = len(x) - 1 - spatial
    for axis in (*x[at + 1 :], *weight[2:]):
        fix_sizes(axis, f"{t.where} is a convolution along it{t.line}")
    blocks, within = group_axes(t, x[at], groups, reason, own=own)
    if transposed:
        unify(weight[0], x[at], reason)
        made = normal((*blocks, *weight[1]))
    else:
        unify(weight[1], within, reason)
        made = normal(weight[0])
        if axis_size(blocks) > 1:
            each = axis_size(made) // axis_size(blocks)
            rest = t.new_size(f"channels of each group in {t.where}", each, weak=True) if within != (1,) else (each,)
            made = unify(made, make_axis(*blocks, *rest), reason)
    spread = tuple((int(n),) for n in out.shape[at + 1 :])
    return (*x[:at], made, *spread), within


def conv(c: Call) -> list[Axes]:
    transposed = "transpose" in c.name
    groups = c.argument(6, "groups", default=1)
    y, _ = conv_axes(c.t, c.inputs[0], c.inputs[1], c.results[0], groups, transposed=transposed, reason=c.reason)
    if len(c.inputs) > 2:
        unify(y[len(y) - len(c.inputs[1]) + 1], c.inputs[2][-1], c.reason)
    return [tuple(map(normal, y))]


def matmul_axes(a: Axes, b: Axes, reason: str) -> Axes:
    """Matrix product as torch.matmul has it."""
    unify(a[-1], b[-2] if len(b) > 1 else b[-1], reason)
    rows, columns = a[:-1][-1:], b[-1:] if len(b) > 1 else ()
    left, right = a[:-2], b[:-2]
    n = max(len(left), len(right))
    left, right = ((1,),) * (n - len(left)) + left, ((1,),) * (n - len(right)) + right
    batch = tuple(unify_all([p, q], reason) for p, q in zip(left, right, strict=True))
    return (*batch, *rows, *columns)


def matmul(c: Call) -> list[Axes]:
    return [tuple(map(normal, matmul_axes(c.inputs[0], c.inputs[1], c.reason)))]


def addmm(c: Call) -> list[Axes]:
    """addmm, baddbmm: input + a · b."""
    y = matmul_axes(c.inputs[1], c.inputs[2], c.reason)
    bias = c.inputs[0]
    for axis, other in zip(y[::-1], bias[::-1], strict=False):
        unify_all([axis, other], c.reason)
    return [tuple(map(normal, y))]


def einsum(c: Call) -> list[Axes] | None:
    equation = equation_of(c)
    found = None if equation is None else einsum_terms(equation, [len(x) for x in c.inputs])
    if found is None:
        return None
    terms, right = found
    axes: dict[str, list[Axis]] = {}
    for term, x in zip(terms, c.inputs, strict=True):
        for letter, axis in zip(term, x, strict=True):
            axes.setdefault(letter, []).append(axis)
    made = {letter: unify_all(same, c.reason) for letter, same in axes.items()}
    return [tuple(normal(made[letter]) for letter in right)]


def equation_of(c: Call) -> str | None:
    """The equation of an einsum, also of one that numbers its dimensions in lists; None where neither is given."""
    if isinstance(c.args[0], str):
        return c.args[0].replace(" ", "")
    lists = [*c.args[1::2], *([c.args[-1]] if len(c.args) % 2 else [])]
    if not all(isinstance(places, (list, tuple)) for places in lists):
        return None
    # As torch does: 0 to 25 are capital letters, 26 to 51 small ones.
    written = ["".join("..." if p is Ellipsis else chr(p + (65 if p < 26 else 71)) for p in places) for places in lists]
    n = len(c.args) // 2
    return ",".join(written[:n]) + (f"->{written[n]}" if len(written) > n else "")


def attention(c: Call) -> list[Axes]:
    """scaled_dot_product_attention: query (…, L, E), key (…, S, E), value (…, S, V) → (…, L, V)."""
    query, key, value = c.inputs[:3]
    unify(query[-1], key[-1], c.reason)
    unify(key[-2], value[-2], c.reason)
    batch = []
    for q, k, v in zip(query[:-2], key[:-2], value[:-2], strict=False):
        if len({axis_size(a) for a in (q, k, v)} - {1}) > 1:  # grouped queries
            for axis in (q, k, v):
                fix_sizes(axis, f"the queries of {c.t.where} come in groups{c.t.line}")
            batch.append(q)
        else:
            batch.append(unify_all([q, k, v], c.reason))
    if len(c.inputs) > 3:  # the mask, added to the scores
        for axis, other in zip(c.inputs[3][:-2][::-1], batch[::-1], strict=False):
            unify_all([other, axis], c.reason)
    return [(*map(normal, batch), query[-2], normal(value[-1]))]


def channel_norm(c: Call) -> list[Axes]:
    """batch_norm, instance_norm, group_norm, prelu: one entry a channel (dimension 1) in whatever else goes in."""
    x = c.inputs[0]
    if c.name == "group_norm":
        group_axes(c.t, x[1], c.argument(1, "num_groups"), c.reason)
    channels = x[1] if len(x) > 1 else x[0]
    for other in c.inputs[1:]:
        if axis_size(other[-1]) == axis_size(channels):
            unify(channels, other[-1], c.reason)
    return [tuple(map(normal, x))]


def last_norm(c: Call) -> list[Axes]:
    """layer_norm, rms_norm: entries for the last dimensions."""
    x = c.inputs[0]
    shape = c.numbers(1, "normalized_shape")
    for number, axis in zip(shape, x[len(x) - len(shape) :], strict=True):
        c.t.require(number, axis)
    for other in c.inputs[1:]:
        for a, b in zip(x[::-1], other[::-1], strict=False):
            unify(a, b, c.reason)
    return [tuple(map(normal, x))]


def embedding(c: Call) -> list[Axes]:
    """Indices (…,) and a table (entries, size) → (…, size); the entries are named by the indices."""
    indices, table = (c.inputs[0], c.inputs[1]) if len(c.inputs) > 1 else ((), c.inputs[0])
    fix_sizes(table[0], "its elements are named by indices")
    return [(*indices, table[1])]


def bag_axes(t: Tracer, indices: Axes, features: Axis, out: Tensor, what: str) -> Axes:
    """Bags of entries, a row each, or one after the other: (bags, features)."""
    if len(indices) == 2:
        fix_sizes(indices[1], f"{what} sums over it{t.line}")
        return indices[0], features
    fix_sizes(indices[0], f"{what} cuts it into bags{t.line}")
    return (int(out.shape[0]),), features


def embedding_bag(c: Call) -> list[Axes]:
    """F.embedding_bag: indices, a table (entries, size), and maybe offsets and weights → (bags, size)."""
    indices, table = c.inputs[:2]
    fix_sizes(table[0], "its elements are named by indices")
    return [bag_axes(c.t, indices, normal(table[1]), c.results[0], f"the function {c.name} in {c.t.where}")]


def bilinear(c: Call) -> list[Axes]:
    """F.bilinear: (…, a), (…, b), weight (out, a, b) → (…, out)."""
    x, y, weight = c.inputs[:3]
    for a, b in zip(x[:-1], y[:-1], strict=True):
        unify(a, b, c.reason)
    unify(x[-1], weight[1], c.reason)
    unify(y[-1], weight[2], c.reason)
    if len(c.inputs) > 3:
        unify(weight[0], c.inputs[3][-1], c.reason)
    return [(*x[:-1], normal(weight[0]))]


def weight_norm(c: Call) -> list[Axes]:
    """torch._weight_norm(v, g, dim): v's direction at the length g, which is one number where there is no dim."""
    v, g = c.inputs[0], c.inputs[1]
    if not g:
        return [v]
    return [tuple(unify_all([a, b], c.reason) for a, b in zip(v, g, strict=True))]


def bilinear_distance(c: Call) -> list[Axes]:
    """cdist: (…, P, M), (…, R, M) → (…, P, R)."""
    a, b = c.inputs
    unify(a[-1], b[-1], c.reason)
    return [(*a[:-1], b[-2])]


def cosine(c: Call) -> list[Axes] | None:
    a, b = c.inputs[:2]
    if len(a) != len(b):
        return None
    dim = c.argument(2, "dim", default=1) % len(a)
    axes = [unify_all([p, q], c.reason) for p, q in zip(a, b, strict=True)]
    return [tuple(axis for i, axis in enumerate(axes) if i != dim)]


def grouped(c: Call) -> list[Axes] | None:
    """grouped_mm: rows (S, K), in groups, times a matrix (K, N) of each group: (G, K, N) → (S, N).

    The groups and where they end (``offs``) are numbers of the network's own. torch takes rows of whole 16 bytes alone.
    """
    a, b = c.inputs[:2]
    if len(a) != 2 or len(b) != 3:
        return None
    fix_sizes(b[0], f"the groups of {c.t.where} are named by numbers{c.t.line}")
    unify(a[1], b[1], c.reason)
    for axis in b[1:]:
        keep_multiples(axis, GROUPED_ROW_BYTES // c.tensors[1].element_size())
    return [(a[0], normal(b[2]))]


def inner(c: Call) -> list[Axes]:
    """(…, K), (…, K) → (…, …)."""
    a, b = c.inputs
    unify(a[-1], b[-1], c.reason)
    return [(*a[:-1], *b[:-1])]


def addr(c: Call) -> list[Axes]:
    """addr and outer: (rows), (columns) → (rows, columns), added to something."""
    *added, rows, columns = c.inputs
    y = (*rows, *columns)
    for other in added:
        for one, two in zip(y[::-1], other[::-1], strict=False):
            unify_all([one, two], c.reason)
    return [tuple(map(normal, y))]


def tensordot(c: Call) -> list[Axes] | None:
    """Two tensors, summed over some dimensions of each."""
    (a, b), given = c.inputs[:2], c.argument(2, "dims", default=2)
    if isinstance(given, Tensor):
        return None
    pairs = (range(-given, 0), range(given)) if isinstance(given, int) else given
    left, right = ([int(d) % len(x) for d in dims] for x, dims in zip((a, b), pairs, strict=True))
    for one, two in zip(left, right, strict=True):
        unify(a[one], b[two], c.reason)
    return [(*(x for d, x in enumerate(a) if d not in left), *(x for d, x in enumerate(b) if d not in right))]


def multi_dot(c: Call) -> list[Axes]:
    made = c.inputs[0]
    for other in c.inputs[1:]:
        made = matmul_axes(made, other, c.reason)
    return [tuple(map(normal, made))]


PRODUCT_RULES: dict[str, Any] = {
    **dict.fromkeys(("matmul", "bmm", "mm", "mv", "dot", "vdot"), matmul),
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), addmm),
    **dict.fromkeys(("grouped_mm", "grouped_mm_fallback"), grouped),
    **dict.fromkeys(("addr", "outer", "ger"), addr),
    **dict.fromkeys(("linalg_multi_dot", "chain_matmul"), multi_dot),
    "inner": inner,
    "tensordot": tensordot,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), conv),
    **dict.fromkeys(("batch_norm", "instance_norm", "group_norm", "prelu"), channel_norm),
    **dict.fromkeys(("layer_norm", "rms_norm"), last_norm),
    "linear": linear,
    "einsum": einsum,
    "scaled_dot_product_attention": attention,
    "embedding": embedding,
    "embedding_bag": embedding_bag,
    "bilinear": bilinear,
    "weight_norm": weight_norm,
    "cdist": bilinear_distance,
    "cosine_similarity": cosine,
}
