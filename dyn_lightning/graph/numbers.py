"""Numbers in a network's code that say how large a dimension is: which follow its sizes, and which hold them fast."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from dyn_lightning.graph.axes import Axis, Sum, axis_size, count, fix_sizes, is_free, normal, same_count
from dyn_lightning.graph.ints import Attribute, NotedInt, Result, attributes, source
from dyn_lightning.graph.polynomial import Polynomial
from dyn_lightning.graph.unification import unify


def agree(t: Any, number: Any, axis: Axis) -> None:
    """See that a number is an Axis's size at any size: ``t`` is the Tracer."""
    said = source(number)
    reason = f"the code of {t.where} gives it as a number ({int(number)}){t.line}"
    if isinstance(said, tuple):
        if not same_count(said, axis):
            unify(said, axis, reason)
    elif isinstance(said, Attribute):
        tie_attribute(t, said, axis)
    elif isinstance(said, Result):
        t.pending.append((said, axis, f"the code of {t.where} computes it ({int(number)}) {_in_words(said)}{t.line}"))
    else:
        fix_sizes(axis, reason)


def tie_attribute(t: Any, attribute: Attribute, axis: Axis) -> None:
    """An attribute must be this Axis's size; if it is another's already, both are equal."""
    known = t.graph.attributes.setdefault(attribute, axis)
    for other in (known, t.layer_sizes.get(attribute, known)):
        if not same_count(other, axis):
            unify(other, axis, f"the attribute {attribute} is the size of other dimensions as well")


def name_size(t: Any, attribute: Attribute, axis: Axis) -> None:
    """A layer's attribute is this Axis's size; of interest only where the network's code reads it."""
    t.layer_sizes[attribute] = axis
    known = t.graph.attributes.get(attribute)
    if known is not None and not same_count(known, axis):
        unify(known, axis, f"the attribute {attribute} is the size of other dimensions as well")


def follow(t: Any, a: NotedInt, b: NotedInt) -> None:
    """Two numbers are compared in the code: an attribute that is compared with a shape is its size."""
    for one, other in ((a.source, b.source), (b.source, a.source)):
        if isinstance(one, Attribute) and isinstance(other, tuple) and is_free(other):
            tie_attribute(t, one, other)


def solve(t: Any) -> None:
    """At the end: find the attributes that computed numbers hang on, and fix what still does not agree."""
    for said, axis, reason in t.pending:
        for attribute in [a for a in attributes(said) if _attribute(t, a) is None]:
            found = None if _holds(t, said, axis) else _invert(t, said, axis, attribute)
            if found is not None:
                tie_attribute(t, attribute, found)
        if not _holds(t, said, axis):
            fix_sizes(axis, reason)
    # What was fixed later may have made a number disagree that had agreed.
    for said, axis, reason in t.pending:
        if not _holds(t, said, axis):
            for held in (axis, *_parts(t, said)):
                fix_sizes(held, reason)


def _parts(t: Any, said: Any) -> Iterator[Axis]:
    """The dimensions that a number is computed from, those that attributes stand for among them."""
    if isinstance(said, Result):
        yield from _parts(t, said.left)
        yield from _parts(t, said.right)
    elif not isinstance(said, int):
        yield said if isinstance(said, tuple) else t.graph.attributes.get(said, ())


def _in_words(said: Result) -> str:
    """How a number is computed, for a reason."""
    whole = said.left
    if said.sign == "//" and isinstance(whole, tuple) and any(isinstance(f, Sum) for f in normal(whole)):
        return f"by division ({axis_size(whole)} // …) of a concatenation, whose parts are learned each by itself"
    return "from something else"


def value_of(t: Any, said: Any) -> Polynomial | None:
    """A number's source as a polynomial in the Sizes; None where it is none. An unbound attribute is constant."""
    if isinstance(said, int):
        return Polynomial.constant(said)
    if isinstance(said, tuple):
        return count(said)
    if isinstance(said, Attribute):
        axis = _attribute(t, said)
        return Polynomial.constant(said.value) if axis is None else count(axis)
    left, right = value_of(t, said.left), value_of(t, said.right)
    if left is None or right is None:
        return None
    if said.sign == "//":
        return _divide(left, right)
    return {"+": left + right, "-": left - right, "*": left * right}[said.sign]


def _holds(t: Any, said: Any, axis: Axis) -> bool:
    if not is_free(axis):
        value = value_of(t, said)
        return value == count(axis) if value is not None else not any(map(is_free, _parts(t, said)))
    return value_of(t, said) == count(axis)


def _divide(left: Polynomial, right: Polynomial) -> Polynomial | None:
    """A quotient that is exact at all sizes; None where there is none."""
    if len(right.terms) != 1:
        return None
    ((divisor, c),) = right.terms.items()
    powers, terms = dict(divisor), {}
    for monomial, coefficient in left.terms.items():
        have = dict(monomial)
        quotient = Fraction(coefficient) / Fraction(c)
        if quotient.denominator != 1 or any(have.get(key, 0) < power for key, power in powers.items()):
            return None
        rest = {key: power - powers.get(key, 0) for key, power in have.items()}
        terms[frozenset((key, power) for key, power in rest.items() if power)] = int(quotient)
    return Polynomial(terms)


def _axis_of(t: Any, said: Any) -> Axis | None:
    if isinstance(said, int):
        return (said,)
    if isinstance(said, tuple):
        return said
    return (_attribute(t, said) or (said.value,)) if isinstance(said, Attribute) else None


def _attribute(t: Any, attribute: Attribute) -> Axis | None:
    """The Axis that an attribute is bound to; one of a layer's own is bound as soon as it is asked for."""
    if attribute not in t.graph.attributes and is_free(t.layer_sizes.get(attribute, ())):
        t.graph.attributes[attribute] = t.layer_sizes[attribute]
    found: Axis | None = t.graph.attributes.get(attribute)
    return found


def _invert(t: Any, said: Any, axis: Axis, attribute: Attribute) -> Axis | None:
    """What an attribute in ``said`` must be for it to be ``axis``: for a // b, b · axis; for a · b, axis / b."""
    if said == attribute:
        return axis
    if not isinstance(said, Result):
        return None
    if said.sign == "//" and attribute in attributes(said.left):
        divisor = _axis_of(t, said.right)
        return None if divisor is None else _invert(t, said.left, normal((*divisor, *axis)), attribute)
    if said.sign == "*":
        for one, other in ((said.left, said.right), (said.right, said.left)):
            factor = _axis_of(t, other) if attribute in attributes(one) else None
            if factor is not None and (rest := _without(axis, factor)) is not None:
                return _invert(t, one, rest, attribute)
    return None


def _without(axis: Axis, factor: Axis) -> Axis | None:
    """An Axis without the factors of another; None where it has them not."""
    rest, gone = list(normal(axis)), list(normal(factor))
    for f in gone:
        if isinstance(f, int):
            at = next((i for i, g in enumerate(rest) if isinstance(g, int) and g % f == 0), None)
            if at is None:
                return None
            rest[at] //= f
        elif f in rest:
            rest.remove(f)
        else:
            return None
    return normal(tuple(rest))


__all__ = ["agree", "axis_size", "follow", "name_size", "solve", "tie_attribute", "value_of"]
