import pytest

from dyn_lightning.graph.axes import (
    Size,
    Sum,
    axis_size,
    axis_sizes,
    concatenated,
    count,
    fix_sizes,
    is_free,
    keep_multiples,
    make_axis,
    normal,
    same_count,
    substitute,
)
from dyn_lightning.graph.polynomial import Polynomial


def sizes(*full: int) -> list[Size]:
    return [Size(f"s{i}", n) for i, n in enumerate(full)]


def test_sizes_tie_in_the_order_of_their_making() -> None:
    a, b, c = Size("a", 4), Size("b", 4), Size("c", 4)
    c.tie(b)
    b.fix("later")
    b.tie(a)
    assert a.root is b.root is c.root is a
    assert a.names == ["a", "b", "c"]
    assert a.reason == "later"
    c.fix("too late")
    assert a.reason == "later"
    with pytest.raises(ValueError, match=r"a \(4\) and d \(5\)"):
        a.tie(Size("d", 5))


def test_a_weak_size_gives_its_place_and_no_name() -> None:
    weak, strong = Size("bare", 4, weak=True), Size("layer", 4)
    weak.tie(strong)
    assert weak.root is strong
    assert strong.names == ["layer"]
    assert not strong.weak


def test_make_axis_and_its_size() -> None:
    size = Size("a", 4)
    assert make_axis(1, 2, 3, size, 1, 5) == (6, size, 5)
    assert make_axis() == (1,)
    assert axis_size((6, size, 5)) == 120
    assert axis_size((2, Sum(((size,), (3,))))) == 14


def test_normal_form() -> None:
    a, b, c = sizes(4, 4, 6)
    assert normal((Sum(((a,), (a,), (a,))),)) == (3, a)
    assert normal((Sum(((2,), (3,), (a,), (1,))),)) == (Sum(((5,), (a,), (1,))),)
    assert normal((Sum(((a,), (Sum(((c,), (b,))),))),)) == (Sum(((a,), (c,), (b,))),)
    assert normal((2, Sum(((a,),)), 3)) == (2, a, 3)
    assert concatenated([(3,), (4,)]) == (7,)
    assert concatenated([(2, a), (2, a)]) == (4, a)
    b.tie(a)
    assert normal((Sum(((a,), (b,))),)) == (2, a)
    x, y = sizes(2, 3)
    c.define((x, y))
    assert normal((5, c)) == (5, x, y)
    assert list(axis_sizes((c, a))) == [x, y, a]


def test_count_forgets_the_order() -> None:
    a, b = sizes(4, 6)
    assert count((a, 3, b)) == count((3, b, a))
    assert same_count((Sum(((a,), (a,), (b,))),), (Sum(((2, a), (b,))),))
    assert not same_count((a, a), (16,))
    one, other = Polynomial.variable(a), Polynomial.variable(b)
    assert count((2, Sum(((a,), (b,), (1,))))) == 2 * one + 2 * other + 2
    b.fix("no")
    assert count((a, b)) == 6 * one
    assert is_free((a, b))
    assert not is_free((b, 3))
    assert not is_free((3,))


def test_fixing_reaches_what_a_size_is_made_of() -> None:
    whole, a, b = sizes(10, 6, 4)
    whole.define((Sum(((a,), (b,))),))
    whole.fix("because")
    assert a.reason == b.reason == "because"
    whole, a, b = sizes(10, 6, 4)
    whole.fix("before")
    whole.define((Sum(((a,), (b,))),))
    assert a.reason == b.reason == "before"
    c, d = sizes(3, 4)
    fix_sizes((2, c, Sum(((d,), (1,)))), "all")
    assert c.reason == d.reason == "all"


def test_substitute() -> None:
    a, b = sizes(4, 6)
    assert substitute((a, 3, b), lambda s: Size("new", 7) if s is b else 40)[0] == 120
    assert substitute((Sum(((a,), (b, 2))),), lambda s: 5) == (15,)
    c = Size("c", 9)
    assert substitute((Sum(((a,), (b, 2))),), lambda s: c if s is a else 5) == (Sum(((c,), (10,))),)


def test_steps_reach_all_that_a_dimension_is_made_of() -> None:
    doubled, part, tied, late = (Size(name, 24) for name in "dptl")
    keep_multiples((2, doubled), 8)  # twice a multiple of 4
    keep_multiples((Sum(((part,), (tied,))),), 8)
    tied.tie(late)
    assert [size.root.unit for size in (doubled, part, tied, late)] == [4, 8, 8, 8]
    whole, inner = Size("w", 24), Size("i", 12)
    whole.keep_multiples(4)
    whole.define((2, inner))
    assert (inner.unit, inner.reason) == (2, None)
    odd = Size("o", 6)
    odd.keep_multiples(4)
    assert odd.reason == "calls take it in multiples of 4 alone"
