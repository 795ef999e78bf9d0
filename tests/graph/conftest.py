"""A layer with a function behind it, and what the graph says of the function's result."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.graph import Graph, Size, Sum, axis_sizes, normal, read_graph


class Between(nn.Module):
    """(2, 3, 5) → Conv1d → (2, 6, 5) → ``function``; the answer hangs on nothing that is learned."""

    def __init__(self, function: Callable[..., Any], **attributes: Any) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 6, 1)
        self.function = function
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if isinstance(self.function, nn.Module) or self.function.__code__.co_argcount == 1:
            self.function(y)
        else:
            self.function(y, self)
        return x.clone()


def _trace(function: Callable[..., Any], **attributes: Any) -> Graph:
    return read_graph(Between(function, **attributes), torch.randn(2, 3, 5))


def _written(axis: Any) -> Any:
    """An axis with each size written as its full size's letter: "C6", a concatenation as a list."""
    found = []
    for factor in normal(axis):
        if isinstance(factor, Size):
            found.append(f"C{factor.full_size}" if factor.root.reason is None else factor.full_size)
        elif isinstance(factor, Sum):
            found.append([_written(part) for part in factor.parts])
        else:
            found.append(factor)
    return tuple(found) if len(found) > 1 else found[0]


def _axes_after(function: Callable[..., Any], **attributes: Any) -> list[Any]:
    """The dimensions of the last function's first result."""
    graph = _trace(function, **attributes)
    return [_written(axis) for axis in next(op for op in reversed(graph.ops) if op.name != "clone").outputs[0]]


def _free(graph: Graph) -> list[int]:
    """Full sizes of what can be learned of the convolution's channels."""
    return [s.full_size for s in axis_sizes((graph.sizes[0],)) if s.reason is None]


@pytest.fixture
def trace() -> Callable[..., Graph]:
    return _trace


@pytest.fixture
def axes_after() -> Callable[..., list[Any]]:
    return _axes_after


@pytest.fixture
def written() -> Callable[[Any], Any]:
    return _written


@pytest.fixture
def free() -> Callable[[Graph], list[int]]:
    return _free
