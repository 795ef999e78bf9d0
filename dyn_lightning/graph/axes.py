"""Sizes and what tensor dimensions are made of them: terms that are equated and refined (unification).

An Axis is a row-major product of factors: an int, a Size, or a Sum, which is a concatenation of Axes. To make two
dimensions equal, :func:`unify` ties their Sizes, and where one is cut more finely than the other, the coarser Size is
*defined* as a product (heads × head size) or as a Sum (the branches of a concatenation) of new ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dyn_lightning.polynomial import Polynomial

_counter = itertools.count()


class Size:
    """A layer size found in a network. Tied sizes share one root, the one that was made first.

    Args:
        name: what makes it: a module, with ".l0", ".l1", … for the layers of a recurrent one.
        full_size: N.
        weak: it belongs to a bare parameter and is of interest only where something else has it too.
    """

    def __init__(self, name: str, full_size: int, *, weak: bool = False) -> None:
        self.full_size = full_size
        self.names = [name]
        self.weak = weak
        self.reason: str | None = None
        self.definition: Axis | None = None
        self._parent: Size | None = None
        self._made = next(_counter)

    @property
    def root(self) -> Size:
        return self if self._parent is None else self._parent.root

    def tie(self, other: Size) -> None:
        """Make two sizes one."""
        a, b = sorted((self.root, other.root), key=lambda size: (size.weak, size._made))
        if a is b:
            return
        if a.full_size != b.full_size:
            raise ValueError(f"{a.names[0]} ({a.full_size}) and {b.names[0]} ({b.full_size}) cannot be tied")
        b._parent = a
        a.names += [name for name in b.names if name not in a.names and not b.weak]
        a.reason = a.reason or b.reason

    def define(self, axis: Axis) -> None:
        """Say what this size is made of; what is fixed stays so in its parts."""
        root = self.root
        root.definition = axis
        if root.reason:
            fix_sizes(axis, root.reason)

    def fix(self, reason: str) -> None:
        """Keep this size, and all that it is made of, from being learned. The first reason stands."""
        root = self.root
        root.reason = root.reason or reason
        if root.definition is not None:
            fix_sizes(root.definition, reason)

    def __repr__(self) -> str:
        return f"Size({self.root.names[0]!r}, {self.full_size})"


@dataclass(frozen=True)
class Sum:
    """A concatenation: its parts one after another."""

    parts: tuple[Axis, ...]

    @property
    def full_size(self) -> int:
        return sum(map(axis_size, self.parts))


Axis = tuple[Any, ...]
"""One tensor dimension as a row-major product of factors: ints, Sizes (in a dynamic network: Widths), and Sums."""


def factor_size(factor: Any) -> int:
    """Full size of one factor of an Axis."""
    return factor if isinstance(factor, int) else int(factor.full_size)


def axis_size(axis: Axis) -> int:
    """Full size of an Axis."""
    return math.prod(map(factor_size, axis))


def axis_sizes(axis: Axis) -> Iterator[Size]:
    """The Sizes in an Axis, roots that have no definition."""
    for factor in normal(axis):
        if isinstance(factor, Size):
            yield factor
        elif isinstance(factor, Sum):
            for part in factor.parts:
                yield from axis_sizes(part)


def is_free(axis: Axis) -> bool:
    """Whether an Axis has a Size in it that is not fixed."""
    return any(not isinstance(f, int) for f in axis) and any(size.reason is None for size in axis_sizes(axis))


def make_axis(*factors: Any) -> Axis:
    """An Axis of factors, ones left out and neighbouring ints multiplied."""
    merged: list[Any] = []
    for factor in factors:
        if isinstance(factor, int) and merged and isinstance(merged[-1], int):
            merged[-1] *= factor
        elif factor != 1 or not isinstance(factor, int):
            merged.append(factor)
    return tuple(merged) or (1,)


def normal(axis: Axis) -> Axis:
    """The one form of an Axis: definitions put in, products and sums flattened, a sum of equals made a product."""
    if all(isinstance(f, int) for f in axis):
        return make_axis(*axis)
    flat: list[Any] = []
    for factor in axis:
        if isinstance(factor, Size):
            root = factor.root
            flat += [root] if root.definition is None else normal(root.definition)
        elif isinstance(factor, Sum):
            flat += _normal_sum(factor)
        else:
            flat.append(int(factor))
    return make_axis(*flat)


def _normal_sum(total: Sum) -> Axis:
    parts: list[Axis] = []
    for part in map(normal, total.parts):
        pieces = part[0].parts if len(part) == 1 and isinstance(part[0], Sum) else (part,)
        for piece in pieces:
            if parts and all(isinstance(f, int) for f in (*piece, *parts[-1])):
                parts[-1] = (axis_size(parts[-1]) + axis_size(piece),)
            elif axis_size(piece):
                parts.append(piece)
    if len(parts) == 1:
        return parts[0]
    if parts and all(part == parts[0] for part in parts):
        return make_axis(len(parts), *parts[0])
    return (Sum(tuple(parts)),) if parts else (0,)


def concatenated(parts: Sequence[Axis]) -> Axis:
    """The dimension along which tensors are joined."""
    return normal((Sum(tuple(parts)),))


def fix_sizes(axis: Axis, reason: str) -> None:
    """Fix every Size in an Axis."""
    for size in list(axis_sizes(axis)):
        size.fix(reason)


def count(axis: Axis) -> Polynomial:
    """The number of elements as a polynomial in the Sizes that are not fixed."""
    total = Polynomial.constant(1)
    for factor in normal(axis):
        if isinstance(factor, Sum):
            total = total * sum(map(count, factor.parts), start=Polynomial({}))
        elif isinstance(factor, Size) and factor.reason is None:
            total = total * Polynomial.variable(factor)
        else:
            total = total * factor_size(factor)
    return total


def same_count(a: Axis, b: Axis) -> bool:
    """Whether two Axes have equally many elements at any sizes, in whatever order."""
    return count(a) == count(b)


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


def substitute(axis: Iterable[Any], values: Any) -> Axis:
    """An Axis with each Size replaced by ``values(size)``, an int or anything with a ``full_size``."""
    made: list[Any] = []
    for factor in normal(tuple(axis)):
        if isinstance(factor, Size):
            made.append(values(factor))
        elif isinstance(factor, Sum):
            total = Sum(tuple(substitute(part, values) for part in factor.parts))
            made.append(total.full_size if all(isinstance(f, int) for p in total.parts for f in p) else total)
        else:
            made.append(factor)
    return make_axis(*made)
