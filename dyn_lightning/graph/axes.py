"""Sizes, and what tensor dimensions are made of them.

An Axis is a row-major product of factors: an int, a Size, or a Sum, which is a concatenation of Axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dyn_lightning.graph.polynomial import Polynomial

_counter = itertools.count()


class Size:
    """A layer size found in a network. Tied sizes share one root, the one that was made first.

    Args:
        name: what makes it: a module, with ".l0", ".l1", … for the layers of a recurrent one.
        full_size: N.
        weak: it belongs to a bare parameter and is of interest only where something else has it too.

    Attributes:
        unit: what it must be a multiple of, for :meth:`keep_multiples`.
    """

    def __init__(self, name: str, full_size: int, *, weak: bool = False) -> None:
        self.full_size = full_size
        self.names = [name]
        self.weak = weak
        self.reason: str | None = None
        self.unit = 1
        self.definition: Axis | None = None
        self._parent: Size | None = None
        self._made = next(_counter)

    @property
    def root(self) -> Size:
        found = self
        while found._parent is not None:
            found = found._parent
        if self is not found:
            self._parent = found  # the next who asks has one step to go
        return found

    def tie(self, other: Size) -> None:
        """Make two sizes one."""
        a, b = sorted((self.root, other.root), key=lambda size: (size.weak, size._made))
        if a is b:
            return
        if a.full_size != b.full_size:
            raise ValueError(f"{a.names[0]} ({a.full_size}) and {b.names[0]} ({b.full_size}) cannot be tied")
        b._parent = a
        known = set(a.names)
        a.names += [name for name in b.names if name not in known and not b.weak]
        a.reason = a.reason or b.reason
        a.keep_multiples(b.unit)

    def define(self, axis: Axis) -> None:
        """Say what this size is made of; what is fixed stays so in its parts."""
        root = self.root
        root.definition = axis
        if root.reason:
            fix_sizes(axis, root.reason)
        keep_multiples(axis, root.unit)

    def keep_multiples(self, unit: int) -> None:
        """Learn this size in steps of ``unit`` elements alone; where it has no two of them, it is fixed."""
        root = self.root
        root.unit = math.lcm(root.unit, unit)
        if root.definition is not None:
            keep_multiples(root.definition, unit)
        elif root.unit > 1 and (root.full_size % root.unit or root.full_size == root.unit):
            root.fix(f"calls take it in multiples of {root.unit} alone")

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


def keep_multiples(axis: Axis, unit: int) -> None:
    """Learn the Sizes in an Axis in such steps that it stays a multiple of ``unit`` elements."""
    axis = normal(axis)
    unit //= math.gcd(unit, math.prod(f for f in axis if isinstance(f, int)))
    learned = [f for f in axis if not isinstance(f, int)]
    if unit == 1 or not learned:
        return
    if isinstance(learned[-1], Size):
        learned[-1].keep_multiples(unit)
    else:
        for part in learned[-1].parts:
            keep_multiples(part, unit)


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
