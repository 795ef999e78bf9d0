"""Making dimensions equal: terms that are equated and refined (unification).

To make two dimensions equal, :func:`unify` ties their Sizes, and where one is cut more finely than the other, the
coarser Size is *defined* as a product (heads × head size) or as a Sum (the branches of a concatenation) of new ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from dyn_lightning.graph.axes import (
    Axis,
    Size,
    Sum,
    axis_size,
    axis_sizes,
    concatenated,
    factor_size,
    fix_sizes,
    make_axis,
    normal,
)


def unify(a: Axis, b: Axis, reason: str) -> Axis:
    """Make two dimensions of one full size equal, element by element; fix them where their make cannot agree.

    Args:
        reason: why, should anything have to be fixed.

    Returns:
        What both are now.
    """
    left, right = list(normal(a)), list(normal(b))
    while left and right and (left != right):
        x, y = left.pop(0), right.pop(0)
        if factor_size(x) == factor_size(y):
            agreed = _equate(x, y, reason)
        else:
            if isinstance(x, int) and isinstance(y, int) and max(x, y) % min(x, y):
                # Blocks that do not nest: both are cut into as many as lets them meet.
                blocks = math.lcm(x, y)
                agreed = _deepen(left, blocks // x) and _deepen(right, blocks // y)
                if not agreed:
                    return _fix_all((a, b), reason)
                left, right = list(normal((x, *left))), list(normal((y, *right)))
                continue
            # Cut the larger one at the smaller one's size and try again from there.
            (large, rest), small = ((x, left), y) if factor_size(x) > factor_size(y) else ((y, right), x)
            pieces = split_product(large, factor_size(small), literal=isinstance(small, int))
            agreed = pieces is not None and _equate(pieces[0], small, reason)
            if pieces is not None:
                rest.insert(0, pieces[1])
        if not agreed:
            return _fix_all((a, b), reason)
        left, right = list(normal(tuple(left))) if left else [], list(normal(tuple(right))) if right else []
        left, right = [f for f in left if f != 1], [f for f in right if f != 1]
    return normal(a)


def _fix_all(axes: Iterable[Axis], reason: str) -> Axis:
    axes = list(axes)
    for axis in axes:
        fix_sizes(axis, reason)
    return normal(axes[0])


def _deepen(factors: list[Any], blocks: int) -> bool:
    """Cut the first of some factors into blocks, a constant number."""
    pieces = split_product(factors[0], blocks, literal=True) if factors else None
    if pieces is None:
        return False
    factors[:1] = [f for f in pieces if f != 1]
    return True


def unify_all(axes: Sequence[Axis], reason: str) -> Axis:
    """Make several dimensions equal, as an elementwise sum does: those of one element are repeated."""
    axes = [a for a in axes if axis_size(a) != 1] or list(axes[:1])
    for other in axes[1:]:
        unify(axes[0], other, reason)
    return normal(axes[0])


def _equate(x: Any, y: Any, reason: str) -> bool:
    """Make two factors of one full size equal; False where only fixing them is left."""
    if isinstance(x, int) and isinstance(y, int):
        return True
    if isinstance(x, Size) and isinstance(y, Size):
        x.tie(y)
        return True
    if isinstance(x, int) or isinstance(y, int):
        fix_sizes((x, y), reason)
        return True
    if isinstance(x, Sum) and isinstance(y, Sum):
        return _align(list(x.parts), list(y.parts), reason)
    size, total = (x, y) if isinstance(x, Size) else (y, x)
    if size.root in set(axis_sizes((total,))):
        return False
    size.root.define((total,))
    return True


def _align(left: list[Axis], right: list[Axis], reason: str) -> bool:
    """Make two concatenations equal, cutting parts where one has a seam and the other has none."""
    while left and right:
        p, q = left.pop(0), right.pop(0)
        if axis_size(p) != axis_size(q):
            (large, rest), small = ((p, left), q) if axis_size(p) > axis_size(q) else ((q, right), p)
            pieces = split_sum(large, [axis_size(small), axis_size(large) - axis_size(small)])
            if pieces is None:
                return False
            rest.insert(0, pieces[1])
            p, q = pieces[0], small
        unify(p, q, reason)
    return True


def split_product(factor: Any, outer: int, *, literal: bool = False) -> tuple[Any, Any] | None:
    """Cut a factor into ``outer`` blocks: (outer factor, inner factor). None where it cannot be cut.

    Args:
        literal: the number of blocks is a constant of the network's code, so it is no Size.
    """
    full = factor_size(factor)
    if full % outer:
        return None
    if isinstance(factor, int):
        return outer, full // outer
    if isinstance(factor, Sum):
        first, *others = factor.parts
        if len(factor.parts) != outer or any(axis_size(part) != axis_size(first) for part in others):
            return None
        for part in others:
            unify(first, part, "the parts of a concatenation are treated alike")
        inner = normal(first)
        return outer, inner[0] if len(inner) == 1 else Sum((inner,))
    root = factor.root
    name = root.names[0]
    inner_size = Size(name if literal else f"{name}.each", full // outer, weak=root.weak)
    blocks: Any = outer if literal else Size(f"{name}.blocks", outer, weak=root.weak)
    if literal:
        inner_size.names = list(root.names)
    root.define(make_axis(blocks, inner_size))
    return blocks, inner_size


def split_sum(axis: Axis, lengths: Sequence[int]) -> list[Axis] | None:
    """Cut an Axis into consecutive pieces of given full sizes; None where a seam falls inside what has none."""
    axis = normal(axis)
    if all(isinstance(f, int) for f in axis):
        return [(int(n),) for n in lengths]
    if len(axis) > 1:
        inner = axis_size(axis[1:])
        if any(n % inner for n in lengths):
            return None
        outer = split_sum(axis[:1], [n // inner for n in lengths])
        return None if outer is None else [normal((*piece, *axis[1:])) for piece in outer]
    (factor,) = axis
    if isinstance(factor, Sum):
        return _regroup(list(factor.parts), lengths)
    pieces: list[Axis] = [(Size(f"{factor.names[0]}.part{i}", n, weak=factor.weak),) for i, n in enumerate(lengths)]
    if len(set(lengths)) == 1:
        # Equal pieces are cut alike: the code asks for a number of them, not for places.
        inner_size = Size(factor.names[0], lengths[0], weak=factor.weak)
        inner_size.names = list(factor.names)
        factor.define(make_axis(len(lengths), inner_size))
        return [(inner_size,)] * len(lengths)
    factor.define((Sum(tuple(pieces)),))
    return pieces


def _regroup(parts: list[Axis], lengths: Sequence[int]) -> list[Axis] | None:
    made: list[Axis] = []
    for n in lengths:
        group: list[Axis] = []
        while n > 0:
            if not parts:
                return None
            part = parts.pop(0)
            if axis_size(part) > n:
                pieces = split_sum(part, [n, axis_size(part) - n])
                if pieces is None:
                    return None
                part = pieces[0]
                parts.insert(0, pieces[1])
            n -= axis_size(part)
            group.append(part)
        made.append(concatenated(group))
    return made
