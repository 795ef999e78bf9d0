import copy
import pickle

import pytest
import torch
from torch import nn

from dyn_lightning.graph.ints import (
    Attribute,
    NotedInt,
    Result,
    attributes,
    is_shape,
    note_attributes,
    source,
    watch_equal,
)


def test_a_noted_int_is_an_int() -> None:
    n = NotedInt(6, (6,))
    assert n == 6
    assert {n: 1}[6] == 1
    assert list(range(n)) == list(range(6))
    assert torch.zeros(n).shape == (6,)
    assert n != 5
    assert n > 5
    for twin in (copy.deepcopy(n), pickle.loads(pickle.dumps(n))):
        assert type(twin) is int
        assert twin == 6


def test_arithmetic_remembers() -> None:
    a, b = NotedInt(6, Attribute("m", "a", 6)), NotedInt(4, (4,))
    for value, expected, sign in (
        (a + b, 10, "+"), (a - b, 2, "-"), (a * b, 24, "*"), (a // b, 1, "//"),
        (a + 4, 10, "+"), (a - 4, 2, "-"), (a * 4, 24, "*"), (a // 4, 1, "//"),
    ):  # fmt: skip
        assert value == expected
        assert value.source.sign == sign
        assert value.source.left == a.source
    for value, expected, sign in ((4 + a, 10, "+"), (10 - a, 4, "-"), (3 * a, 18, "*"), (14 // a, 2, "//")):
        assert value == expected
        assert value.source.sign == sign
        assert value.source.right == a.source
    assert list(attributes((a * 2 // b).source)) == [a.source]
    assert source(5) == 5
    assert source(b) == (4,)
    assert is_shape(b.source)
    assert not is_shape(a.source)


@pytest.mark.parametrize("value", [2.5, 2.0])
def test_floats_forget(value: float) -> None:
    n = NotedInt(6, (6,))
    for made, expected in (
        (n + value, 6 + value), (value + n, 6 + value), (n - value, 6 - value), (value - n, value - 6),
        (n * value, 6 * value), (n // value, 6 // value), (value // n, value // 6),
        (n / 4, 1.5), (n**2, 36), (n % 4, 2), (n**-0.5, 6**-0.5),
    ):  # fmt: skip
        assert made == expected
        assert not isinstance(made, NotedInt)
    assert isinstance(n + True, NotedInt)


def test_equality_is_watched_only_where_it_holds() -> None:
    seen = []
    watch_equal(lambda a, b: seen.append((a.source, b.source)))
    try:
        a, b, c = NotedInt(6, "a"), NotedInt(6, "b"), NotedInt(5, "c")
        assert a == b
        assert (a != b) is False
        assert a != c
        assert a == 6
    finally:
        watch_equal(None)
    assert seen == [("a", "b")] * 2
    assert a == b
    assert len(seen) == 2


def test_module_attributes_are_noted_and_put_back() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm([2, 4]))
    net.sizes = [5, 6]
    net.flag, net.one, net.mixed = True, 1, (2, "x")
    restore = note_attributes(dict(net.named_modules()))
    assert net[0].out_features.source == Attribute("0", "out_features", 4)
    assert net[1].normalized_shape[1].source == Attribute("1", "normalized_shape", 4, 1)
    assert isinstance(net[1].normalized_shape, tuple)
    assert [n.source.index for n in net.sizes] == [0, 1]
    assert net.flag is True
    assert type(net.one) is int
    assert type(net.mixed[0]) is int
    restore()
    assert type(net[0].out_features) is int
    assert type(net[1].normalized_shape[0]) is int
    assert type(net.sizes[0]) is int


def test_attributes_have_a_readable_name() -> None:
    assert str(Attribute("conv", "groups", 2)) == "conv.groups"
    assert str(Attribute("", "heads", 2)) == "heads"
    assert str(Attribute("norm", "normalized_shape", 2, 1)) == "norm.normalized_shape[1]"
    assert Result("+", 1, 2) == Result("+", 1, 2)
