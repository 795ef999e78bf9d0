"""Polynomials in layer sizes: a count of parameters or FLOPs as an exact function of every Width."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from fractions import Fraction
from typing import Any

Coefficient = int | float | Fraction
Monomial = frozenset[tuple[Hashable, int]]
"""The powers of a product of variables, as (variable, exponent ≥ 1); empty for the constant."""


class Polynomial:
    """Σ coefficient · Π variableᵉ, with exact arithmetic on integers and fractions.

    Variables are any hashable: the Widths themselves, or their names. Immutable; ``+``, ``-`` and ``*`` take
    Polynomials and numbers, ``/`` numbers alone.

    >>> rows, columns = Polynomial.variable("rows"), Polynomial.variable("columns")
    >>> (2 * rows * columns + rows).at({"rows": 3, "columns": 5})
    33
    """

    __slots__ = ("terms",)

    def __init__(self, terms: Mapping[Monomial, Coefficient]) -> None:
        self.terms = {monomial: c for monomial, c in terms.items() if c != 0}

    @classmethod
    def constant(cls, value: Coefficient) -> Polynomial:
        """The polynomial that is ``value`` everywhere."""
        return cls({frozenset(): value})

    @classmethod
    def variable(cls, key: Hashable) -> Polynomial:
        """The polynomial that is the variable ``key`` itself."""
        return cls({frozenset({(key, 1)}): 1})

    @classmethod
    def sum(cls, polynomials: Iterable[Polynomial]) -> Polynomial:
        """The sum of many, in time proportional to the number of their terms."""
        terms: dict[Monomial, Coefficient] = {}
        for polynomial in polynomials:
            _add(terms, polynomial)
        return cls(terms)

    @property
    def constant_term(self) -> Coefficient:
        """The part that no variable governs."""
        return self.terms.get(frozenset(), 0)

    @property
    def variables(self) -> set[Hashable]:
        """All variables that occur."""
        return {key for monomial in self.terms for key, _ in monomial}

    def __add__(self, other: Polynomial | Coefficient) -> Polynomial:
        terms = dict(self.terms)
        _add(terms, _as_polynomial(other))
        return Polynomial(terms)

    def __mul__(self, other: Polynomial | Coefficient) -> Polynomial:
        if not isinstance(other, Polynomial):
            return Polynomial({monomial: c * other for monomial, c in self.terms.items()})
        terms: dict[Monomial, Coefficient] = {}
        for a, ca in self.terms.items():
            for b, cb in other.terms.items():
                monomial = _product(a, b)
                terms[monomial] = terms.get(monomial, 0) + ca * cb
        return Polynomial(terms)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Polynomial:
        return self * -1

    def __sub__(self, other: Polynomial | Coefficient) -> Polynomial:
        return self + -_as_polynomial(other)

    def __truediv__(self, divisor: int) -> Polynomial:
        return Polynomial({monomial: _quotient(c, divisor) for monomial, c in self.terms.items()})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Polynomial) and self.terms == other.terms

    __hash__ = None  # type: ignore[assignment]

    def renamed(self, names: Mapping[Any, Hashable]) -> Polynomial:
        """The same polynomial in other variables. Raises KeyError for a variable without a new name."""
        terms: dict[Monomial, Coefficient] = {}
        for monomial, c in self.terms.items():
            renamed: Monomial = frozenset()
            for key, power in monomial:
                renamed = _product(renamed, frozenset({(names[key], power)}))
            terms[renamed] = terms.get(renamed, 0) + c
        return Polynomial(terms)

    def at(self, values: Mapping[Any, int]) -> Coefficient:
        """The value where each variable has the given value. Raises KeyError for a variable without one."""
        total: Coefficient = 0
        for monomial, c in self.terms.items():
            for key, power in monomial:
                c = c * values[key] ** power
            total = total + c
        return total

    def __repr__(self) -> str:
        def product(monomial: Monomial) -> str:
            return "".join(f"·{key}" + (f"^{power}" if power > 1 else "") for key, power in sorted_powers(monomial))

        return " + ".join(f"{c}{product(m)}" for m, c in self.terms.items()) or "0"


def _add(terms: dict[Monomial, Coefficient], other: Polynomial) -> None:
    for monomial, c in other.terms.items():
        terms[monomial] = terms.get(monomial, 0) + c


def _quotient(c: Coefficient, divisor: int) -> Coefficient:
    """Exact, and an int where it is whole: that is far quicker to reckon with."""
    if isinstance(c, int) and c % divisor == 0:
        return c // divisor
    return c / Fraction(divisor)


def _product(a: Monomial, b: Monomial) -> Monomial:
    if not a or not b:
        return a or b
    powers = dict(a)
    for key, power in b:
        powers[key] = powers.get(key, 0) + power
    return frozenset(powers.items())


def sorted_powers(monomial: Monomial) -> list[tuple[Hashable, int]]:
    """A monomial's (variable, exponent) in an order that does not depend on hashes."""
    return sorted(monomial, key=lambda item: str(item[0]))


def _as_polynomial(value: Polynomial | Coefficient) -> Polynomial:
    return value if isinstance(value, Polynomial) else Polynomial.constant(value)
