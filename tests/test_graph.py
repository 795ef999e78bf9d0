from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from dyn_lightning.graph import (
    Graph,
    Size,
    axis_size,
    call_arguments,
    make_axis,
    read_graph,
    tensors_in,
    tie_axes,
)
from dyn_lightning.graph_rules import function_name


class Between(nn.Module):
    """(2, 3, 5) → Conv1d → (2, 6, 5) → ``function``; the answer hangs on nothing that is learned."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 6, 1)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        self.function(self.conv(x))
        return x.clone()


def trace(function: Callable[[Tensor], Any]) -> Graph:
    return read_graph(Between(function), torch.randn(2, 3, 5))


def axes_after(function: Callable[[Tensor], Any]) -> list[Any]:
    """The dimensions of the last function's first result, the learned size written as "C"."""
    axes = next(op for op in reversed(trace(function).ops) if op.name != "clone").outputs[0]
    return [tuple("C" if isinstance(f, Size) else f for f in axis) for axis in axes]


C = ("C",)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x.transpose(1, 2), [(2,), (5,), C]),
        (lambda x: torch.transpose(x, dim0=0, dim1=-2), [C, (2,), (5,)]),
        (lambda x: x.mT, [(2,), (5,), C]),
        (lambda x: x.swapaxes(0, 1), [C, (2,), (5,)]),
        (lambda x: x.permute(2, 0, 1), [(5,), (2,), C]),
        (lambda x: x.permute((1, 2, -3)), [C, (5,), (2,)]),
        (lambda x: torch.permute(x, dims=(1, 2, 0)), [C, (5,), (2,)]),
        (lambda x: x[0].T, [(5,), C]),
        (lambda x: x[0].t(), [(5,), C]),
        (lambda x: x[0, :, 0].t(), [C]),
        (lambda x: x.flatten(1), [(2,), ("C", 5)]),
        (lambda x: x.flatten(), [(2, "C", 5)]),
        (lambda x: x.transpose(1, 2).reshape(2, -1), [(2,), (5, "C")]),
        (lambda x: x.reshape(2, -1, 5, 1), [(2,), C, (5,), (1,)]),
        (lambda x: x.transpose(0, 1).reshape(-1, 5), [("C", 2), (5,)]),
        (lambda x: x.flatten(1).unflatten(1, (-1, 5)), [(2,), C, (5,)]),
        (lambda x: x.transpose(1, 2).flatten(0, 1), [(10,), C]),
        (lambda x: x.transpose(1, 2).flatten(0, 1).view(5, 2, -1), [(5,), (2,), C]),
        (lambda x: x.unsqueeze(1), [(2,), (1,), C, (5,)]),
        (lambda x: x.unsqueeze(-1), [(2,), C, (5,), (1,)]),
        (lambda x: x.unsqueeze(1).squeeze(1), [(2,), C, (5,)]),
        (lambda x: x.unsqueeze(0).squeeze(), [(2,), C, (5,)]),
        (lambda x: x.squeeze(1), [(2,), C, (5,)]),
        (lambda x: x[:, :, 0], [(2,), C]),
        (lambda x: x[..., 1:4], [(2,), C, (3,)]),
        (lambda x: x[-1, ..., None], [C, (5,), (1,)]),
        (lambda x: x[:1, :, ::2], [(1,), C, (3,)]),
        (lambda x: x.mean(-1), [(2,), C]),
        (lambda x: x.mean(-1, True), [(2,), C, (1,)]),
        (lambda x: x.sum(dim=(0, 2)), [C]),
        (lambda x: x.std(1), [(2,), (5,)]),
        (lambda x: x.norm(2, 0), [C, (5,)]),
        (lambda x: torch.norm(x, 2, 2), [(2,), C]),
        (lambda x: torch.norm(x, dim=2), [(2,), C]),
        (lambda x: x.amax((0, 2), keepdim=True), [(1,), C, (1,)]),
        (lambda x: x.max(dim=2), [(2,), C]),
        (lambda x: x.min(-1, keepdim=True), [(2,), C, (1,)]),
        (lambda x: torch.max(x, torch.zeros(2, 1, 5)), [(2,), C, (5,)]),
        (lambda x: x.sum(), []),
        (lambda x: nn.functional.pad(x, (1, 2)), [(2,), C, (8,)]),
        (lambda x: x.index_select(0, torch.tensor([1, 1, 0])), [(3,), C, (5,)]),
        (lambda x: x.chunk(5, -1), [(2,), C, (1,)]),
        (lambda x: nn.functional.interpolate(x, scale_factor=2), [(2,), C, (10,)]),
        (lambda x: nn.functional.avg_pool1d(x, 2), [(2,), C, (2,)]),
        (lambda x: nn.functional.max_pool1d(x, 2), [(2,), C, (2,)]),
        (lambda x: x.masked_fill(x > 0, 0.0), [(2,), C, (5,)]),
        (lambda x: 1 - x, [(2,), C, (5,)]),
        (lambda x: 2 / (1 + x), [(2,), C, (5,)]),
        (lambda x: x + torch.randn_like(x), [(2,), C, (5,)]),
        (lambda x: x.clone().mul_(2), [(2,), C, (5,)]),
        (lambda x: nn.functional.relu(x, inplace=True), [(2,), C, (5,)]),
        (lambda x: x.transpose(1, 2) * torch.ones(1, 5, 1), [(2,), (5,), C]),
        (
            lambda x: pack_padded_sequence(x.transpose(1, 2), torch.tensor([5, 3]), batch_first=True),
            [(8,), C],
        ),
    ],
)
def test_dimensions_are_followed(function: Callable[[Tensor], Any], expected: list[Any]) -> None:
    assert axes_after(function) == expected
    (size,) = trace(function).roots()
    assert size.reason is None


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[:, :3] + 0,
        lambda x: x[:, 0] + 0,
        lambda x: x[:, torch.tensor([0, 1])] + 0,
        lambda x: x.index_select(1, torch.arange(6)) + 0,
        lambda x: x.view(2, 2, 3, 5) + 0,
        lambda x: nn.functional.pad(x, (0, 0, 1, 0)) + 0,
        lambda x: x.chunk(2, 1)[0] + 0,
        lambda x: torch.cat([x, x], 1) + 0,
        lambda x: torch.cumsum(x, 1) + 0,
        lambda x: x @ torch.ones(5, 2) + 0,
        lambda x: nn.functional.avg_pool1d(x.transpose(1, 2), 2) + 0,
        lambda x: x * torch.ones(6, 1),
    ],
)
def test_what_is_not_understood_fixes_the_size(function: Callable[[Tensor], Any]) -> None:
    (size,) = trace(function).roots()
    assert size.reason is not None


def test_an_unread_result_fixes_nothing() -> None:
    (size,) = trace(lambda x: torch.cumsum(x, 1)).roots()
    assert size.reason is None


def test_the_network_is_left_as_it_was() -> None:
    network = Between(lambda x: x).train()
    network.conv.eval()
    read_graph(network, torch.randn(2, 3, 5))
    assert network.training
    assert not network.conv.training
    assert not network.conv._forward_hooks
    with pytest.raises(RuntimeError):
        read_graph(network, torch.randn(2, 4, 5))
    assert not network.conv._forward_hooks
    assert network.training


def test_operations_have_names_kinds_and_axes() -> None:
    class Inner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(x)

    graph = read_graph(nn.Sequential(nn.Linear(3, 4), Inner(), nn.GRU(4, 5, 2)), torch.randn(7, 2, 3))
    assert [(op.name, op.kind) for op in graph.ops] == [("0", "Linear"), ("1.tanh", "tanh"), ("2", "GRU")]
    linear, _, rnn = graph.ops
    assert linear.inputs == (((7,), (2,), (3,)),)
    assert [axis_size(a) for a in linear.outputs[0]] == [7, 2, 4]
    assert [axis[0].names for axis in rnn.hidden] == [["2.l0", "2.l1"]] * 2 or len(rnn.hidden) == 2
    assert [op.module is None for op in graph.ops] == [False, True, False]


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
    a.group(2)
    c.group(4)
    assert a.groups == 4
    with pytest.raises(ValueError, match=r"a \(4\) and d \(5\)"):
        a.tie(Size("d", 5))


def test_axes() -> None:
    size = Size("a", 4)
    assert make_axis(1, 2, 3, size, 1, 5) == (6, size, 5)
    assert make_axis() == (1,)
    assert axis_size((6, size, 5)) == 120


def test_tie_axes() -> None:
    a, b = Size("a", 4), Size("b", 4)
    assert tie_axes([(1,), (a, 3), (b, 3)], "no") == (a, 3)
    assert a.root is b.root
    assert a.reason is None
    tie_axes([(a, 3), (12,)], "because")
    assert a.reason == "because"
    c, d = Size("c", 6), Size("d", 2)
    tie_axes([(c, 2), (d, 6)], "because")
    assert c.reason == d.reason == "because"
    assert tie_axes([(1,), (1,)], "no") == (1,)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (Tensor.add_, "add"),
        (Tensor.__radd__, "add"),
        (Tensor.__rsub__, "sub"),
        (Tensor.__truediv__, "div"),
        (Tensor.__getitem__, "getitem"),
        (Tensor.__neg__, "neg"),
        (nn.functional.max_pool1d, "max_pool1d"),
        (torch._VF._pack_padded_sequence, "pack_padded_sequence"),  # type: ignore[attr-defined]
        (Tensor.requires_grad_, "requires_grad_"),
    ],
)
def test_function_names(function: Any, name: str) -> None:
    assert function_name(function) == name


def test_tensors_in_any_container() -> None:
    @dataclass
    class Box:
        one: Tensor
        other: Any

    x = [torch.full((1,), float(i)) for i in range(5)]
    packed = pack_padded_sequence(torch.randn(3, 1, 2), torch.tensor([3]))
    found = tensors_in({"a": [x[0], (x[1], None)], "b": Box(x[2], {"c": x[3]}), "d": "text"})
    assert [t.item() for t in found] == [0.0, 1.0, 2.0, 3.0]
    assert len(tensors_in(packed)) == 2


def test_call_arguments() -> None:
    x = torch.randn(1)
    assert call_arguments(x) == ((x,), {})
    assert call_arguments([x, x]) == ((x, x), {})
    assert call_arguments({"audio": x}) == ((), {"audio": x})
