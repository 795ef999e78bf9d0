"""Recurrent layers and cells: what their parameters and their results are made of."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from dyn_lightning.graph import Graph, axis_size, read_graph
from dyn_lightning.modules.stacked_rnn import StackedRNN

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")


def read(*layers: nn.Module, shape: tuple[int, ...] = (2, 3, 9)) -> Graph:
    return read_graph(nn.Sequential(*layers), torch.randn(*shape), free_outputs=True)


def free(graph: Graph) -> dict[str, int]:
    return {size.names[0]: size.full_size for size in graph.roots() if size.reason is None}


class First(nn.Module):
    def forward(self, x: Any) -> Tensor:
        return x[0]


class States(nn.Module):
    def __init__(self, which: int = 0) -> None:
        super().__init__()
        self.which = which

    def forward(self, x: Any) -> Tensor:
        return x[1][self.which] if isinstance(x[1], tuple) else x[1]


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent(kind: Any, gates: int, bidirectional: bool) -> None:
    graph = read(kind(9, 6, 2, bidirectional=bidirectional), First(), nn.Linear(6 * (1 + bidirectional), 4))
    assert free(graph) == {"0.l0": 6, "0.l1": 6, "2": 4}
    assert axis_size(graph.ops[0].outputs[0][-1]) == 6 * (1 + bidirectional)
    assert [axis_size(a) for a in graph.ops[0].hidden] == [6, 6]

    assert free(read(kind(9, 6, 2, bidirectional=bidirectional), States())) == {"0.l0": 6}


def test_packed_sequences_have_no_state() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.rnn = nn.Linear(9, 5), nn.LSTM(5, 6, 2)

        def forward(self, x: Tensor) -> Tensor:
            packed = pack_padded_sequence(self.a(x), torch.tensor([2, 2, 1]))
            return self.rnn(packed)[0].data

    graph = read_graph(Packed(), torch.randn(2, 3, 9), free_outputs=True)
    assert free(graph) == {"a": 5, "rnn.l0": 6, "rnn.l1": 6}
    assert [axis_size(a) for a in graph.ops[-1].outputs[0]] == [5, 6]


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNNCell, 1), (nn.GRUCell, 3), (nn.LSTMCell, 4)])
def test_cells(kind: Any, gates: int) -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.out = kind(9, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            state = None
            for step in x:
                state = self.cell(step, state)
            return self.out(state[0] if isinstance(state, tuple) else state)

    graph = read_graph(Loop(), torch.randn(4, 3, 9))
    assert free(graph) == {"cell": 6}
    assert graph.rules["cell"].plain is kind


def test_projections() -> None:
    graph = read(nn.Linear(9, 8), nn.LSTM(8, 6, 2, proj_size=3), First())
    assert set(free(graph).values()) == {8, 6, 3}
    assert axis_size(graph.ops[1].outputs[0][-1]) == 3


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_stacks_of_unequal_layers(kind: str, bidirectional: bool) -> None:
    stack = StackedRNN(kind, 9, (6, 7, 5), bidirectional=bidirectional)
    graph = read(stack, First(), nn.Linear(5 * (1 + bidirectional), 4))
    assert free(graph) == {"0.l0": 6, "0.l1": 7, "0.l2": 5, "2": 4}
    assert [axis_size(a) for a in graph.ops[0].outputs[0]] == [2, 3, 5 * (1 + bidirectional)]
    assert [axis_size(a) for a in graph.ops[0].hidden] == [6, 7, 5]
    assert [axis_size(graph.bindings[f"0.layers.{i}"]["in_width"]) for i in range(3)] == [
        9, 6 * (1 + bidirectional), 7 * (1 + bidirectional),
    ]  # fmt: skip
    followed = {(a.name, a.index): axis_size(axis) for a, axis in graph.attributes.items()}
    sizes = {("hidden_sizes", i): n for i, n in enumerate((6, 7, 5))}
    assert followed == {("input_size", None): 9, **sizes}


def test_final_states_of_a_stack_hold_unequal_layers_and_tie_equal_ones() -> None:
    graph = read(StackedRNN("GRU", 9, (6, 8)), States())
    assert free(graph) == {}
    assert all("final states" in str(size.reason) for size in graph.roots())
    assert [axis_size(a) for a in graph.ops[0].outputs[1]] == [2, 3, 8]
    assert free(read(StackedRNN("GRU", 9, (6, 6)), States())) == {"0.l0": 6}


def test_initial_states_of_a_stack_hold_unequal_layers_and_tie_equal_ones() -> None:
    class Given(nn.Module):
        def __init__(self, *sizes: int) -> None:
            super().__init__()
            self.rnn, self.start, self.out = StackedRNN("GRU", 9, sizes), nn.Linear(9, max(sizes)), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.rnn(x, self.start(x))[0])

    def sizes(net: nn.Module) -> dict[str, int]:
        return free(read_graph(net, torch.randn(2, 3, 9)))

    assert sizes(Given(8, 6)) == {}
    assert sizes(Given(6, 6)) == {"start": 6}


def test_a_projection_is_one_size_for_all_layers_of_a_stack() -> None:
    graph = read(StackedRNN("LSTM", 9, (6, 8), proj_size=3), First())
    assert free(graph) == {"0.proj": 3, "0.l0": 6, "0.l1": 8}
    assert free(read(StackedRNN("LSTM", 9, (6, 8), proj_size=3), States())) == free(graph)
    assert free(read(StackedRNN("LSTM", 9, (6, 8), proj_size=3), States(1))) == {"0.proj": 3}


def test_a_stack_called_twice_is_one_stack() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.rnn = nn.Linear(9, 8), nn.Linear(9, 8), StackedRNN("GRU", 8, (6, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(self.a(x))[0] + self.rnn(self.b(x))[0]

    graph = read_graph(Twice(), torch.randn(2, 3, 9), free_outputs=True)
    assert free(graph) == {"a": 8, "rnn.l0": 6, "rnn.l1": 4}
