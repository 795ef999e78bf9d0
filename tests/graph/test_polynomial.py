"""The polynomials that costs are written in."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dyn_lightning.graph.polynomial import Polynomial

VARIABLES = ("a", "b", "c")


def evaluate(terms, values):
    """Independent evaluation of [(coefficient, (power of a, b, c))]."""
    return sum(c * values["a"] ** p[0] * values["b"] ** p[1] * values["c"] ** p[2] for c, p in terms)


def build(terms):
    total = Polynomial({})
    for c, powers in terms:
        product = Polynomial.constant(c)
        for key, power in zip(VARIABLES, powers, strict=True):
            for _ in range(power):
                product = product * Polynomial.variable(key)
        total = total + product
    return total


term_lists = st.lists(st.tuples(st.integers(-9, 9), st.tuples(*[st.integers(0, 3)] * 3)), max_size=5)
points = st.fixed_dictionaries({key: st.integers(1, 30) for key in VARIABLES})


@given(term_lists, term_lists, points)
def test_sums_and_products_are_those_of_the_values(p, q, at):
    x, y = evaluate(p, at), evaluate(q, at)
    assert (build(p) + build(q)).at(at) == x + y
    assert (build(p) - build(q)).at(at) == x - y
    assert (build(p) * build(q)).at(at) == x * y


@given(term_lists, term_lists, term_lists)
def test_ring_laws_hold_term_by_term(p, q, r):
    a, b, c = build(p), build(q), build(r)
    assert a + b == b + a
    assert a * b == b * a
    assert a * (b + c) == a * b + a * c
    assert (a - a).terms == {}


@given(term_lists, st.integers(-5, 5), points)
def test_numbers_are_constants(p, number, at):
    value = evaluate(p, at)
    assert (number + build(p)).at(at) == number + value
    assert (number * build(p)).at(at) == number * value
    assert (build(p) - number).constant_term == sum(c for c, powers in p if not any(powers)) - number


def test_division_is_exact():
    third = Polynomial.variable("a") / 3
    assert third.at({"a": 1}) == Fraction(1, 3)
    assert (third * 3).at({"a": 7}) == 7


def test_renaming_can_make_two_variables_one():
    a, b = Polynomial.variable("a"), Polynomial.variable("b")
    one = (a * b + 2 * a + b).renamed({"a": "n", "b": "n"})
    assert one.variables == {"n"}
    assert one.at({"n": 5}) == 5 * 5 + 3 * 5
    with pytest.raises(KeyError):
        a.renamed({"b": "n"})
