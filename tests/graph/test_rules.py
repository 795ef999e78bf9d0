from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.graph.notes import Graph
from dyn_lightning.graph.rules import function_name, on_modules


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (Tensor.add_, "add"),
        (Tensor.__radd__, "add"),
        (Tensor.__rsub__, "sub"),
        (Tensor.__truediv__, "div"),
        (Tensor.__getitem__, "getitem"),
        (Tensor.__neg__, "neg"),
        (Tensor.__floordiv__, "floor_divide"),
        (Tensor.__mod__, "remainder"),
        (Tensor.__ror__, "or"),
        (nn.functional.max_pool1d, "max_pool1d"),
        (torch._VF._pack_padded_sequence, "pack_padded_sequence"),  # type: ignore[attr-defined]
        (Tensor.requires_grad_, "requires_grad_"),
    ],
)
def test_function_names(function: Any, name: str) -> None:
    assert function_name(function) == name


C = "C6"


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x.mean(-1), [2, C]),
        (lambda x: x.mean(-1, True), [2, C, 1]),
        (lambda x: x.sum(dim=(0, 2)), [C]),
        (lambda x: x.std(1), [2, 5]),
        (lambda x: x.norm(2, 0), [C, 5]),
        (lambda x: torch.norm(x, 2, 2), [2, C]),
        (lambda x: torch.norm(x, dim=2), [2, C]),
        (lambda x: torch.linalg.vector_norm(x, dim=(0, 2)), [C]),
        (lambda x: x.amax((0, 2), keepdim=True), [1, C, 1]),
        (lambda x: x.max(dim=2), [2, C]),
        (lambda x: x.min(-1, keepdim=True), [2, C, 1]),
        (lambda x: torch.var_mean(x, dim=(0, 2), keepdim=True), [1, C, 1]),
        (lambda x: x.logsumexp(1), [2, 5]),
        (lambda x: x.argmax(2), [2, C]),
        (lambda x: torch.max(x, torch.zeros(2, 1, 5)), [2, C, 5]),
        (lambda x: x.sum(), []),
        (lambda x: nn.functional.avg_pool1d(x, 2), [2, C, 2]),
        (lambda x: nn.functional.max_pool1d(x, 2), [2, C, 2]),
        (lambda x: nn.functional.adaptive_avg_pool1d(x, 3), [2, C, 3]),
        (lambda x: x.masked_fill(x > 0, 0.0), [2, C, 5]),
        (lambda x: 1 - x, [2, C, 5]),
        (lambda x: 2 / (1 + x), [2, C, 5]),
        (lambda x: x + torch.randn_like(x), [2, C, 5]),
        (lambda x: x.clone().mul_(2), [2, C, 5]),
        (lambda x: nn.functional.relu(x, inplace=True), [2, C, 5]),
        (lambda x: nn.functional.normalize(x, dim=1), [2, C, 5]),
        (lambda x: x.softmax(1), [2, C, 5]),
        (lambda x: torch.where(x > 0, x, x.mean((0, 2), keepdim=True)), [2, C, 5]),
        (lambda x: x.transpose(1, 2) * torch.ones(1, 5, 1), [2, 5, C]),
        (lambda x: torch.stack([x, x]).float().to(torch.float64), [2, 2, C, 5]),
    ],
)
def test_element_by_element_and_reduced(
    axes_after, trace, free, function: Callable[[Tensor], Any], expected: Any
) -> None:
    assert axes_after(function) == expected
    assert free(trace(function)) == [6]


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (lambda x: x * torch.ones(6, 1), "mul"),
        (lambda x: torch.maximum(x, torch.ones(1, 6, 1)), "maximum"),
        (lambda x: nn.functional.avg_pool1d(x.transpose(1, 2), 2) + 0, "avg_pool1d"),
        (lambda x: x.argmax(1) + 0, "argmax"),
        (lambda x: x.median(1).values + 0, "median"),
        (lambda x: torch.fft.rfft(x, dim=1).abs(), "fft_rfft"),
        (lambda x: torch.kron(x[0], torch.ones(2, 2)) + 0, "kron"),
    ],
)
def test_what_is_not_understood_fixes_the_size_and_names_the_function(trace, free, function, named: str) -> None:
    graph = trace(function)
    assert free(graph) == []
    assert f"the function {named} in the network" in graph.sizes[0].root.reason


def test_sizes_that_no_parameter_has_are_not_offered() -> None:
    from dyn_lightning.graph import read_graph

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n, self.a = 7, nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x).sum() + torch.zeros(2, self.n).expand(2, self.n).sum()

    assert [s.full_size for s in read_graph(Net(), torch.randn(2, 3)).roots() if s.reason is None] == [4]


def test_subclasses_of_whole_layers_are_named() -> None:
    class Mine(nn.GRU):
        pass

    class Run:
        graph = Graph()

    on_modules(Run, {"a": Mine(3, 4), "b": nn.GRU(3, 4), "c": nn.Linear(3, 4)})  # type: ignore[arg-type]
    assert Run.graph.fixed == {"a": "a is a Mine, not a GRU itself"}
