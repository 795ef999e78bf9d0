from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.graph import axis_size, normal, read_graph
from dyn_lightning.graph.axes import Size


def test_operations_have_names_kinds_and_axes() -> None:
    class Inner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(x)

    graph = read_graph(nn.Sequential(nn.Linear(3, 4), Inner(), nn.GRU(4, 5, 2)), torch.randn(7, 2, 3))
    assert [(op.name, op.kind) for op in graph.ops] == [("0", "Linear"), ("1.tanh", "tanh"), ("2", "GRU")]
    assert [(e.name, e.where) for e in graph.events] == [("0", "0"), ("1.tanh", "1"), ("2", "2")]
    linear, _, rnn = graph.ops
    assert linear.inputs == (((7,), (2,), (3,)),)
    assert [axis_size(a) for a in linear.outputs[0]] == [7, 2, 4]
    assert len(rnn.hidden) == 2
    assert [op.module is None for op in graph.ops] == [False, True, False]


def test_free_outputs() -> None:
    net = nn.Sequential(nn.Linear(3, 4))
    assert read_graph(net, torch.randn(2, 3)).roots()[0].reason is not None
    assert read_graph(net, torch.randn(2, 3), free_outputs=True).roots()[0].reason is None


def test_bare_parameters_and_buffers() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)
            self.gain = nn.Parameter(torch.ones(4))
            self.register_buffer("shift", torch.ones(1, 4))
            self.weight = nn.Parameter(torch.randn(5, 3))
            self.read = nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.b(self.a(x) * self.gain + self.shift)
            return y + self.read(nn.functional.linear(x, self.weight))

    graph = read_graph(Net(), torch.randn(2, 3))
    first = graph.roots()[0]
    (own,) = normal(graph.bare["", "weight"][0])
    assert [normal(axis) for axis in graph.bare["", "gain"]] == [(first,)]
    assert [normal(axis)[0] for axis in graph.bare["", "shift"]][1] is first
    assert first.names == ["a"]
    assert own.names == ["weight"]  # the root's own: named after the parameter
    assert own.reason is None
    assert [axis_size(a) for a in graph.bare["", "weight"]] == [5, 3]


def test_parameters_that_another_layer_has_too_are_told_apart() -> None:
    a, b = nn.Linear(6, 6), nn.Linear(6, 6)
    b.weight = a.weight
    graph = read_graph(nn.Sequential(a, b, a), torch.randn(2, 6))
    shared = [op.shared for op in graph.ops]
    assert shared[0] == shared[2] == ()
    ((axes,),) = [shared[1]]
    assert [axis_size(axis) for axis in axes] == [6, 6]


def test_an_unread_result_fixes_nothing(trace, free) -> None:
    assert free(trace(lambda x: torch.cumsum(x, 1))) == [6]
    assert free(trace(lambda x: torch.cumsum(x, 1) + 0)) == []


def test_nothing_that_is_no_tensor_can_be_answered() -> None:
    class Nothing(nn.Module):
        def forward(self, x: Tensor) -> str:
            return "text"

    with pytest.raises(TypeError, match="answers a str in which no tensor"):
        read_graph(Nothing(), torch.randn(1))


def test_shapes_are_noted_only_while_the_network_is_read() -> None:
    seen: list[Any] = []

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            seen.append((y.shape[1], y.size(1), y.size()[1], y.numel()))
            return y

    net = Net()
    read_graph(net, torch.randn(2, 3))
    net(torch.randn(2, 3))
    noted, plain = seen
    assert [n.source for n in noted[:3]] == [noted[0].source] * 3
    assert isinstance(noted[0].source[0], Size)
    assert noted == (4, 4, 4, 8)
    assert {type(n) for n in plain} == {int}
