"""Numbers in the network's code: literal ones hold a size fast, those of shapes and attributes follow it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.graph import read_graph, rules
from dyn_lightning.graph.axes import Size, count
from dyn_lightning.graph.ints import Attribute, NotedInt
from dyn_lightning.graph.numbers import value_of
from dyn_lightning.graph.tracer import Tracer


def reasons(trace: Any, function: Callable[..., Any], **attributes: Any) -> list[str | None]:
    return [size.reason for size in trace(function, **attributes).roots()]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.reshape(2, 6, 5),
        lambda x: x.view(-1, 30),
        lambda x: x.expand(2, 6, 5),
        lambda x: x.reshape(2, 6 // 2 * 2, 5),
        lambda x: x[:, :6, 1:].reshape(2, 24),
    ],
)
def test_literal_numbers_hold_a_size_fast(trace, function) -> None:
    (reason,) = reasons(trace, function)
    assert reason is not None
    assert "gives it as a number" in reason


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.reshape(x.shape[0], x.shape[1], 5),
        lambda x: x.reshape(x.size(0), x.size(1) * x.size(2)),
        lambda x: x.view(2, x.shape[1] * 5),
        lambda x: x.view(2, 1 + x.shape[1] - 1, 5),
        lambda x: x.transpose(1, 2).reshape(10, x.numel() // 10),
        lambda x: x.expand(3, *x.shape),
        lambda x: x.new_zeros(2, x.shape[1], 5) + x,
        lambda x: x[:, : x.shape[1]],
        lambda x: x.flatten(1).view(2, x.shape[1] * 10 // 2),
    ],
)
def test_numbers_of_shapes_follow(trace, function) -> None:
    assert reasons(trace, function) == [None]


def test_shape_of_another_dimension_is_no_number_of_this(trace) -> None:
    graph = trace(lambda x: x.reshape(2, x.shape[2] + 1, 5))
    (size,) = graph.roots()
    assert size.reason is not None
    assert "computes it (6) from something else" in size.reason


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (lambda x, net: x.reshape(2, net.n, 5), 6),
        (lambda x, net: x.reshape(2, net.n // 2, 5), 12),
        (lambda x, net: x.reshape(2, 2 * net.n, 5).chunk(2, 1), 3),
        (lambda x, net: x.reshape(2, -1, net.n, 5), 3),
        (lambda x, net: torch.zeros(2, net.n, 5) + x, 6),
        (lambda x, net: [None for _ in range(1) if x.shape[1] == net.n] and x + 1, 6),
    ],
)
def test_attributes_are_bound(trace, function, value: int) -> None:
    graph = trace(function, n=value)
    assert [size.reason for size in graph.roots() if size.full_size > 1 and size.reason] == []
    (axis,) = [axis for a, axis in graph.attributes.items() if a == Attribute("", "n", value)]
    free = [f for f in axis if isinstance(f, Size)]
    assert free


def test_an_attribute_for_two_sizes_ties_them() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n = 6
            self.a, self.b = nn.Linear(3, 6), nn.Linear(3, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x).view(-1, self.n).sum() + self.b(x).view(-1, self.n).sum()

    (size,) = read_graph(Net(), torch.randn(2, 3)).roots()
    assert size.names == ["a", "b"]
    assert size.reason is None


def test_an_attribute_that_is_a_fixed_size_too_fixes() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n = 6
            self.a = nn.Linear(3, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x).view(-1, self.n).sum() + torch.ones(2, 6).view(-1, self.n).sum()

    graph = read_graph(Net(), torch.randn(2, 3))
    (size,) = graph.roots()
    # ones(2, 6) is free of sizes: nothing asks the attribute to follow it, and the number is then wrong for it
    assert size.reason is None or "attribute n" in size.reason


def test_a_layers_own_attribute_is_its_size() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).reshape(-1, self.b.in_features))

    graph = read_graph(Net(), torch.randn(2, 3))
    assert graph.roots()[0].reason is None
    assert {str(a) for a in graph.attributes} == {"b.in_features"}


def test_value_of_is_exact() -> None:
    a, b = Size("a", 6), Size("b", 4)

    t = Tracer(nn.Identity(), rules)
    n, m = NotedInt(6, (a,)), NotedInt(4, (b,))
    assert value_of(t, (n * m + 2 * n).source) == count((a, b)) + 2 * count((a,))
    assert value_of(t, (n * m // m).source) == count((a,))
    assert value_of(t, (n * 4 // 2).source) == 2 * count((a,))
    assert value_of(t, (n // 2).source) is None  # not exact at every size
    assert value_of(t, (n // m).source) is None
    assert value_of(t, (n - n).source) == 0 * count((a,))
