import pytest

from dyn_lightning.graph.axes import (
    Size,
    Sum,
    axis_size,
    axis_sizes,
    concatenated,
    is_free,
    normal,
)
from dyn_lightning.graph.unification import split_product, split_sum, unify, unify_all


def sizes(*full: int) -> list[Size]:
    return [Size(f"s{i}", n) for i, n in enumerate(full)]


def kept_positions(axis, kept: dict[Size, int]) -> list[int]:
    """Positions of a dimension's elements in the full one where each size keeps its first so many."""
    positions = [0]
    for factor in normal(axis):
        if isinstance(factor, int):
            full, inner = factor, list(range(factor))
        elif isinstance(factor, Size):
            full, inner = factor.full_size, list(range(kept.get(factor, factor.full_size)))
        else:
            full, inner = 0, []
            for part in factor.parts:
                inner += [full + i for i in kept_positions(part, kept)]
                full += axis_size(part)
        positions = [p * full + i for p in positions for i in inner]
    return positions


@pytest.mark.parametrize("flipped", [False, True])
def test_unify_ties_equal_products(flipped: bool) -> None:
    a, b, c = sizes(4, 4, 5)
    left, right = (a, 3, c), (b, 3, Size("d", 5))
    made = unify(right, left, "no") if flipped else unify(left, right, "no")
    assert normal(left) == normal(right) == made == (a, 3, c)
    assert a.reason is c.reason is None


def test_unify_cuts_the_coarser_side() -> None:
    whole, heads, each = sizes(12, 3, 4)
    assert unify((whole,), (heads, each), "no") == (heads, each)
    assert normal((whole,)) == (heads, each)

    # blocks of 2 on one side: 12 = 2 · 6, and the 6 are new
    other = Size("other", 12)
    made = unify((other,), (2, Size("half", 6)), "no")
    assert made[0] == 2
    assert axis_size(made[1:]) == 6
    assert other.reason is None

    # a size meets a number: what is inside stays free, the blocks do not
    third = Size("third", 12)
    unify((third, 5), (4, Size("rest", 15)), "because")
    assert [s.full_size for s in axis_sizes((third,)) if s.reason is None] == [3]


def test_unify_blocks_that_do_not_nest() -> None:
    whole = Size("whole", 24)
    unify((whole,), (3, Size("x", 8)), "no")
    unify((whole,), (4, Size("y", 6)), "no")
    made = normal((whole,))
    assert made[0] == 12
    assert axis_size(made[1:]) == 2
    assert is_free(made)
    shared = Size("shared", 24)
    unify((shared,), (4, Size("x", 6)), "no")
    unify((shared,), (6, Size("y", 4)), "no")  # four and six meet in twelve
    assert [s.full_size for s in axis_sizes((shared,))] == [2]
    assert is_free((shared,))
    few = Size("few", 12)
    unify((few,), (3, Size("x", 4)), "no")
    unify((few,), (4, Size("y", 3)), "no")  # twelve blocks of one: nothing is left
    assert axis_size(normal((few,))) == 12


def test_unify_with_a_number_fixes() -> None:
    a, b = sizes(4, 3)
    unify((a, b), (12,), "because")
    assert a.reason == b.reason == "because"
    c, d = sizes(6, 2)
    unify((c, 2), (d, 6), "because")  # c is d blocks of three, and these three stay
    assert d.reason is None
    (three,) = set(axis_sizes((c,))) - {d}
    assert (three.full_size, three.reason) == (3, "because")
    assert kept_positions((c, 2), {d: 1}) == kept_positions((d, 6), {d: 1}) == list(range(6))


def test_unify_prime_parts_that_do_not_fit_fixes_both() -> None:
    a, b, c, d = sizes(4, 9, 6, 6)
    unify((a, b), (c, d), "because")
    assert {s.reason for s in (a, b, c, d)} == {"because"}


def test_unify_makes_a_size_a_concatenation() -> None:
    whole, a, b = sizes(10, 6, 4)
    unify((whole,), concatenated([(a,), (b,)]), "no")
    assert normal((whole,)) == (Sum(((a,), (b,))),)
    # itself among its parts: no such size
    other, c = sizes(10, 10)
    loop = Sum(((other,), (0,)))
    unify((other,), (loop,), "no")
    assert other.reason is None
    unify((c,), (2, Size("h", 5)), "no")
    assert normal((c,))[0] == 2


def test_unify_aligns_concatenations_of_other_seams() -> None:
    a, b, c, d = sizes(6, 4, 3, 7)
    unify((Sum(((a,), (b,))),), (Sum(((c,), (d,))),), "no")
    made = normal((Sum(((a,), (b,))),))
    left = set(axis_sizes(made))
    assert left == set(axis_sizes((c, d)))
    assert all(s.reason is None for s in left)
    kept = {s: s.full_size - 1 for s in left}
    assert kept_positions((Sum(((a,), (b,))),), kept) == kept_positions((Sum(((c,), (d,))),), kept)
    assert kept_positions((Sum(((c,), (d,))),), {c: 2}) == [0, 1, 3, 4, 6, 7, 8, 9]  # d begins with another c


def test_unify_fixes_a_part_that_stands_beside_a_number() -> None:
    a, b, c = sizes(6, 4, 4)
    unify((Sum(((a,), (b,))),), (Sum(((6,), (c,))),), "because")
    assert a.reason == "because"
    assert b.reason is None
    assert c.root is b.root


def test_unify_all_repeats_what_has_one_element() -> None:
    a, b = sizes(4, 4)
    assert unify_all([(1,), (a, 3), (b, 3)], "no") == (a, 3)
    assert a.root is b.root
    assert a.reason is None
    unify_all([(a, 3), (12,)], "because")
    assert a.reason == "because"
    assert unify_all([(1,), (1,)], "no") == (1,)


def test_split_product() -> None:
    (a,) = sizes(12)
    blocks, each = split_product(a, 3)
    assert (blocks.full_size, each.full_size) == (3, 4)
    assert normal((a,)) == (blocks, each)
    (b,) = sizes(12)
    number, each = split_product(b, 3, literal=True)
    assert number == 3
    assert each.names == b.names
    assert split_product(Size("c", 12), 5) is None
    assert split_product(12, 4) == (4, 3)
    d, e = sizes(4, 4)
    assert split_product(Sum(((d,), (e,))), 2) == (2, d)
    assert e.root is d
    assert split_product(Sum(((Size("f", 4),), (Size("g", 8),))), 2) is None


def test_split_sum() -> None:
    (a,) = sizes(10)
    one, other = split_sum((a,), [4, 6])
    assert [axis_size(one), axis_size(other)] == [4, 6]
    assert normal((a,)) == (Sum((one, other)),)
    (b,) = sizes(12)
    pieces = split_sum((b,), [4, 4, 4])
    assert pieces[0] == pieces[1] == pieces[2]
    assert normal((b,)) == (3, *pieces[0])
    assert split_sum((6, 2), [4, 8]) == [(4,), (8,)]
    (c,) = sizes(6)
    assert [axis_size(p) for p in split_sum((c, 5), [10, 20])] == [10, 20]
    assert split_sum((Size("d", 6), 5), [12, 18]) is None  # a seam inside the five
    e, f = sizes(3, 4)
    assert split_sum((Sum(((e,), (f,))),), [3, 4]) == [(e,), (f,)]
    regrouped = split_sum((Sum(((e,), (f,))),), [5, 2])
    assert [axis_size(p) for p in regrouped] == [5, 2]
    assert normal((f,)) != (f,)
