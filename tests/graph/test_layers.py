"""Layers that are taken as a whole: what their parameters and their results are made of."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.features.spectral import LogCompression, MelFilterBank
from dyn_lightning.graph import Graph, axis_size, read_graph
from dyn_lightning.graph.declared import is_leaf


def read(*layers: nn.Module, shape: tuple[int, ...] = (2, 3, 9), free_outputs: bool = True) -> Graph:
    return read_graph(nn.Sequential(*layers), torch.randn(*shape), free_outputs=free_outputs)


def free(graph: Graph) -> dict[str, int]:
    return {size.names[0]: size.full_size for size in graph.roots() if size.reason is None}


def test_leaves() -> None:
    class Mine(nn.Linear):
        pass

    assert is_leaf(nn.Linear(2, 3))
    assert is_leaf(nn.ReLU())
    assert not is_leaf(Mine(2, 3))
    assert not is_leaf(nn.Sequential())
    for module, name in ((nn.Linear(2, 3), "weight"), (nn.GRU(2, 3), "weight_hh_l0")):
        with pytest.warns(FutureWarning):
            assert not is_leaf(nn.utils.weight_norm(module, name))
    assert not is_leaf(nn.utils.spectral_norm(nn.MultiheadAttention(4, 2), "in_proj_weight"))
    assert not is_leaf(nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)))


@pytest.mark.parametrize(
    ("layers", "sizes"),
    [
        ([nn.Conv1d(3, 8, 1), nn.BatchNorm1d(8), nn.PReLU(8)], {"0": 8}),
        ([nn.Conv1d(3, 8, 1), nn.PReLU()], {"0": 8}),
        ([nn.Conv1d(3, 8, 1), nn.InstanceNorm1d(8, affine=True)], {"0": 8}),
        ([nn.Conv1d(3, 8, 1), nn.Conv1d(8, 8, 3, groups=8)], {"0": 8}),
        ([nn.Conv1d(3, 8, 1), nn.Conv1d(8, 24, 3, groups=8)], {"0": 8}),
        ([nn.Conv1d(3, 8, 1), nn.Conv1d(8, 12, 3, groups=2)], {"0": 4, "1": 6}),
        ([nn.Conv1d(3, 8, 1), nn.Conv1d(8, 12, 3, groups=2), nn.Conv1d(12, 6, 1, groups=3)], {"0": 4, "1": 2, "2": 2}),
        ([nn.Conv1d(3, 8, 1), nn.ConvTranspose1d(8, 12, 3, groups=4)], {"0": 2, "1": 3}),
        ([nn.Conv1d(3, 8, 1), nn.ConvTranspose1d(8, 24, 3, groups=8)], None),
        ([nn.Conv1d(3, 8, 1), nn.GroupNorm(2, 8)], {"0": 4}),
        ([nn.Conv1d(3, 8, 1), nn.GroupNorm(1, 8)], {"0": 8}),
        ([nn.Conv1d(3, 8, 1), nn.GroupNorm(8, 8)], {"0": 8}),
        ([nn.Conv1d(3, 12, 1), nn.GroupNorm(2, 12), nn.ReLU(), nn.GroupNorm(3, 12)], {"0": 2}),
        ([nn.Conv1d(3, 12, 1), nn.GroupNorm(6, 12), nn.GroupNorm(2, 12)], {"0": 2}),
        ([nn.Conv1d(3, 8, 1), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(32, 4)], {"0": 8, "3": 4}),
        ([nn.Conv1d(3, 8, 1), nn.LayerNorm([8, 9])], {"0": 8}),
        ([nn.Conv1d(3, 8, 1), nn.LayerNorm(9)], {"0": 8}),
        ([nn.Linear(9, 8), nn.LayerNorm(8)], {"0": 8}),
        ([nn.Linear(9, 8), nn.RMSNorm(8), nn.GRU(8, 5)], {"0": 8, "2.l0": 5}),
        ([nn.Linear(9, 8), nn.LayerNorm([3, 8])], {"0": 8}),
    ],
    ids=str,
)
def test_what_can_be_learned(layers: list[nn.Module], sizes: dict[str, int] | None) -> None:
    if sizes is not None and isinstance(layers[-1], nn.RNNBase):
        layers = [*layers, First()]
    graph = read(*layers)
    if sizes is not None:
        assert free(graph) == sizes
    else:
        assert all(size.reason is None or size.weak for size in graph.roots())


class First(nn.Module):
    def forward(self, x: Any) -> Tensor:
        return x[0]


def test_a_convolution_fixes_what_it_runs_along() -> None:
    class Turned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.transpose(1, 2)

    graph = read(nn.Conv1d(3, 8, 1), Turned(), nn.Conv1d(9, 4, 3))
    assert free(graph) == {"2": 4}
    assert "convolution along it" in str(graph.sizes[0].root.reason)


def test_embedding() -> None:
    net = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 2))
    graph = read_graph(net, torch.zeros(3, 4, dtype=torch.int64))
    assert free(graph) == {"0": 5}
    assert [axis_size(a) for a in graph.ops[0].outputs[0]] == [3, 4, 5]


def test_bands() -> None:
    graph = read(MelFilterBank(17, 6), LogCompression(), shape=(2, 17, 5))
    assert free(graph) == {"0": 6}
    graph = read(nn.Conv1d(3, 17, 1), MelFilterBank(17, 6))
    assert free(graph) == {"1": 6}
    assert "expects all frequency bins" in str(graph.sizes[0].root.reason)


def test_a_layer_called_with_two_inputs_ties_them() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(9, 8), nn.Linear(9, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(self.a(x)) + self.c(self.b(x))

    graph = read_graph(Twice(), torch.randn(2, 9), free_outputs=True)
    assert free(graph) == {"a": 8, "c": 4}


def test_other_layers_fix_what_they_read_and_say_so() -> None:
    class Read(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.mha = nn.Linear(9, 8), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.max_pool1d(self.a(x), 2)

    graph = read_graph(nn.Sequential(Read()), torch.randn(2, 3, 9), free_outputs=True)
    assert "max_pool1d" in str(graph.sizes[0].root.reason)
    graph = read(nn.Linear(9, 8), nn.MaxPool1d(2))
    assert "1 is a MaxPool1d" in str(graph.sizes[0].root.reason)
