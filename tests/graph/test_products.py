"""Functions that multiply: which dimensions must agree, and what comes out."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dyn_lightning.graph import read_graph
from dyn_lightning.graph.axes import Size, axis_size
from dyn_lightning.graph.products import linear_axes, matmul_axes


def network(run: Callable[..., Any], **layers: Any) -> Any:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return run(self, x).sum()

    net = Net()
    for name, layer in layers.items():
        setattr(net, name, layer)
    return net


def tied(run: Callable[..., Any], shape: tuple[int, ...] = (2, 5, 3), **layers: Any) -> set[tuple[str, ...]]:
    """The free sizes, each as the names that it has."""
    graph = read_graph(network(run, **layers), torch.randn(*shape))
    return {tuple(size.names) for size in graph.roots() if size.reason is None}


A, B, D = nn.Linear(3, 6), nn.Linear(3, 6), nn.Linear(3, 4)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (lambda n, x: n.a(x) @ n.b(x).transpose(1, 2), {("a", "b"), ("d",)}),
        (lambda n, x: n.a(x).transpose(1, 2) @ n.b(x), {("a",), ("b",), ("d",)}),
        (lambda n, x: torch.bmm(n.a(x).mT, n.d(x)), {("a",), ("b",), ("d",)}),
        (lambda n, x: torch.matmul(n.a(x), n.b(x)[0, 0]), {("a", "b"), ("d",)}),
        (lambda n, x: torch.dot(n.a(x)[0, 0], n.b(x)[0, 1]), {("a", "b"), ("d",)}),
        (lambda n, x: torch.einsum("bti,bsi->bts", n.a(x), n.b(x)), {("a", "b"), ("d",)}),
        (lambda n, x: torch.einsum("bti, btj -> bij", n.a(x), n.b(x)), {("a",), ("b",), ("d",)}),
        (lambda n, x: torch.einsum("bti,bti", n.a(x), n.b(x)), {("a", "b"), ("d",)}),
        (lambda n, x: torch.einsum("...i,...i->...", n.a(x), n.b(x)), {("a", "b"), ("d",)}),
        (lambda n, x: torch.einsum("...i,...j->...ij", n.a(x), n.d(x)).mean(-1) + n.b(x), {("a", "b"), ("d",)}),
        (lambda n, x: torch.addmm(n.a(x)[0, 0], x[0], torch.randn(3, 6)), {("b",), ("d",)}),
        (lambda n, x: torch.baddbmm(n.a(x).mT @ n.d(x), n.b(x).mT, n.d(x)), {("a", "b"), ("d",)}),
        (lambda n, x: functional.linear(n.a(x), torch.ones(2, 6)), {("b",), ("d",)}),
        (lambda n, x: torch.cdist(n.a(x), n.b(x)), {("a", "b"), ("d",)}),
        (lambda n, x: functional.cosine_similarity(n.a(x), n.b(x), dim=-1), {("a", "b"), ("d",)}),
        (lambda n, x: functional.cosine_similarity(n.a(x), n.b(x), 1), {("a", "b"), ("d",)}),
        (lambda n, x: n.a(x) @ torch.ones(6, 2), {("b",), ("d",)}),
        (lambda n, x: functional.layer_norm(n.a(x), n.a(x).shape[-1:]), {("a",), ("b",), ("d",)}),
        (lambda n, x: functional.layer_norm(n.a(x), (6,)), {("b",), ("d",)}),
        (lambda n, x: functional.layer_norm(n.a(x), (6,), torch.ones(6)), {("b",), ("d",)}),
        (lambda n, x: functional.batch_norm(n.a(x).mT, torch.zeros(6), torch.ones(6)), {("b",), ("d",)}),
        (lambda n, x: functional.instance_norm(n.a(x).mT), {("a",), ("b",), ("d",)}),
        (lambda n, x: functional.prelu(n.a(x).mT, torch.ones(1)), {("a",), ("b",), ("d",)}),
    ],
)
def test_what_must_agree(run: Callable[..., Any], expected: set[Any]) -> None:
    def used(n: Any, x: Tensor) -> Tensor:
        return run(n, x).sum() + n.a(x).sum() + n.b(x).sum() + n.d(x).sum()

    found = tied(used, a=A, b=B, d=D)
    assert found == expected


def test_scaled_dot_product_attention() -> None:
    def run(n: Any, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (2, -1)).transpose(1, 2) for layer in (n.q, n.k, n.v))
        y = functional.scaled_dot_product_attention(q, k, v)
        return n.out(y.transpose(1, 2).flatten(2))

    graph = read_graph(
        network(run, q=nn.Linear(3, 8), k=nn.Linear(3, 8), v=nn.Linear(3, 12), out=nn.Linear(12, 2)),
        torch.randn(2, 5, 3),
    )
    found = {tuple(s.names): s.full_size for s in graph.roots() if s.reason is None}
    assert found == {("q", "k"): 4, ("v",): 6, ("out",): 2}  # the two heads are a number in the code


def test_keys_and_values_are_as_many() -> None:
    def run(n: Any, x: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(n.q(x), n.keys.expand(2, -1, -1), n.values.expand(2, -1, -1))

    parameters = {"keys": nn.Parameter(torch.randn(7, 6)), "values": nn.Parameter(torch.randn(7, 4))}
    graph = read_graph(network(run, q=nn.Linear(3, 6), **parameters), torch.randn(2, 5, 3))
    assert sorted(s.full_size for s in graph.roots() if s.reason is None) == [4, 6, 7]


def test_grouped_queries_are_fixed() -> None:
    def run(n: Any, x: Tensor) -> Tensor:
        q = n.q(x).unflatten(-1, (4, -1)).transpose(1, 2)
        k = n.k(x).unflatten(-1, (2, -1)).transpose(1, 2)
        return functional.scaled_dot_product_attention(q, k, k, enable_gqa=True)

    graph = read_graph(network(run, q=nn.Linear(3, 12), k=nn.Linear(3, 6)), torch.randn(2, 5, 3))
    assert [s.full_size for s in graph.roots() if s.reason is None] == [3]


@pytest.mark.parametrize(
    ("run", "sizes"),
    [
        (lambda n, x: functional.conv1d(n.a(x), n.w.weight), [12, 4]),
        (lambda n, x: functional.conv_transpose1d(n.a(x), n.w.weight.transpose(0, 1)), [12, 4]),
        (lambda n, x: functional.conv1d(n.a(x), n.depth.weight, groups=n.a(x).shape[1]), [12]),
        (lambda n, x: functional.conv1d(n.a(x), n.depth.weight, groups=12), []),
        (lambda n, x: functional.conv1d(n.a(x), n.three.weight, groups=3), [4, 2]),
        (lambda n, x: functional.group_norm(n.a(x), 3), [4]),
        (lambda n, x: functional.group_norm(n.a(x), 12), []),
        (lambda n, x: functional.group_norm(functional.group_norm(n.a(x), 3), 2), [2]),
    ],
)
def test_convolutions_and_groups(run: Callable[..., Any], sizes: list[int]) -> None:
    layers = {
        "a": nn.Conv1d(3, 12, 1),
        "w": nn.Conv1d(12, 4, 1),
        "depth": nn.Conv1d(12, 12, 1, groups=12),
        "three": nn.Conv1d(12, 6, 1, groups=3),
    }
    graph = read_graph(network(run, **layers), torch.randn(2, 3, 5))
    assert [s.full_size for s in graph.roots() if s.reason is None] == sizes


def test_embedding_and_bilinear() -> None:
    def run(n: Any, x: Tensor) -> Tensor:
        e = functional.embedding(torch.zeros(2, 5, dtype=torch.int64), n.table)
        return functional.bilinear(n.a(x), e, n.form)

    graph = read_graph(
        network(run, a=nn.Linear(3, 6), table=nn.Parameter(torch.randn(7, 4)), form=nn.Parameter(torch.randn(8, 6, 4))),
        torch.randn(2, 5, 3),
    )
    assert {s.full_size for s in graph.roots() if s.reason is None} == {6, 4, 8}
    assert all("indices" in str(s.reason) for s in graph.sizes if s.full_size == 7)


def test_axes_of_products() -> None:
    a, b, c = Size("a", 4), Size("b", 4), Size("c", 3)
    assert matmul_axes(((2,), (5,), (a,)), ((b,), (c,)), "no") == ((2,), (5,), (c,))
    assert b.root is a
    assert matmul_axes(((a,),), ((a,),), "no") == ()
    assert matmul_axes(((1,), (2,), (a,)), ((7,), (a,), (c,)), "no") == ((7,), (2,), (c,))
    assert linear_axes(((2,), (a,)), ((c,), (Size("d", 4),)), "no") == ((2,), (c,))
    assert axis_size(matmul_axes(((2,), (a,)), ((a,), (c, 2)), "no")[1]) == 6
