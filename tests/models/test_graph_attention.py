import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dyn_lightning.exports.export import save_program
from dyn_lightning.models.graph_attention import GraphAttention, GraphPool, HeterogeneousGraphAttention, node_norm


def linear(layer: torch.nn.Linear, x: Tensor) -> Tensor:
    return layer.weight @ x + (0 if layer.bias is None else layer.bias)


def attend(scores: Tensor, temperature: float, nodes: Tensor) -> Tensor:
    weights = (scores / temperature).exp()
    return sum(w / weights.sum() * node for w, node in zip(weights, nodes, strict=True))  # type: ignore[return-value]


def normed(layer: torch.nn.Module, x: Tensor) -> Tensor:
    """In evaluation, with fresh statistics: mean 0, variance 1."""
    return torch.nn.functional.selu(x / math.sqrt(1 + layer.norm.eps))  # type: ignore[operator, union-attr, arg-type]


def test_graph_attention_node_by_node() -> None:
    torch.manual_seed(0)
    layer, x = GraphAttention(5, 4, temperature=2.0).eval(), torch.randn(2, 6, 5)
    found = layer(x)
    for item, nodes in enumerate(x):
        for i, node in enumerate(nodes):
            scores = torch.stack([linear(layer.score, torch.tanh(linear(layer.pairs, node * other)))[0]
                                  for other in nodes])  # fmt: skip
            mean = attend(scores, 2.0, nodes)
            expected = normed(layer, linear(layer.attended, mean) + linear(layer.itself, node))
            torch.testing.assert_close(found[item, i], expected)


def test_heterogeneous_graph_attention_node_by_node() -> None:
    torch.manual_seed(0)
    layer = HeterogeneousGraphAttention(5, 4, temperature=3.0).eval()
    first, second, master = torch.randn(2, 3, 5), torch.randn(2, 4, 5), torch.randn(1, 1, 5)
    one, other, new_master = layer(first, second, master)
    assert (one.shape, other.shape, new_master.shape) == ((2, 3, 4), (2, 4, 4), (2, 1, 4))
    for item in range(2):
        nodes = [linear(layer.project_first, x) for x in first[item]]
        nodes += [linear(layer.project_second, x) for x in second[item]]
        x = torch.stack(nodes)
        for i in range(7):
            scores = []
            for j in range(7):
                readers = {2: layer.score_first, 1: layer.score_across, 0: layer.score_second}
                reader = readers[int(i < 3) + int(j < 3)]
                scores.append(linear(reader, torch.tanh(linear(layer.pairs, x[i] * x[j])))[0])
            mean = attend(torch.stack(scores), 3.0, x)
            expected = normed(layer, linear(layer.attended, mean) + linear(layer.itself, x[i]))
            torch.testing.assert_close(torch.cat((one, other), 1)[item, i], expected)
        scores = [linear(layer.master_score, torch.tanh(linear(layer.master_pairs, n * master[0, 0])))[0] for n in x]
        mean = attend(torch.stack(scores), 3.0, x)
        expected = linear(layer.master_attended, mean) + linear(layer.master_itself, master[0, 0])
        torch.testing.assert_close(new_master[item, 0], expected)


def test_node_norm_counts_all_nodes() -> None:
    norm, x = torch.nn.BatchNorm1d(5).train(), torch.randn(3, 7, 5) * 3 + 2
    y = node_norm(norm, x).reshape(-1, 5)
    torch.testing.assert_close(y.mean(0), torch.zeros(5), rtol=0, atol=1e-5)
    torch.testing.assert_close(y.var(0, correction=0), torch.ones(5), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("share", "nodes", "left"), [(0.4, 23, 9), (0.5, 29, 14), (0.7, 9, 6), (0.7, 14, 9), (0.7, 10, 7), (0.1, 4, 1)]
)
def test_pooling_keeps_a_share_of_the_nodes(share: float, nodes: int, left: int) -> None:
    assert GraphPool(share, 3).eval()(torch.randn(2, nodes, 3)).shape == (2, left, 3)


def test_pooling_keeps_the_best_scaled_by_their_scores() -> None:
    torch.manual_seed(0)
    pool, x = GraphPool(0.5, 3).eval(), torch.randn(2, 6, 3)
    found = pool(x)
    for item in range(2):
        scores = torch.stack([torch.sigmoid(linear(pool.score, node))[0] for node in x[item]])
        best = sorted(range(6), key=lambda i: -scores[i].item())[:3]
        torch.testing.assert_close(found[item], torch.stack([x[item, i] * scores[i] for i in best]))


def test_pooling_teaches_its_scores() -> None:
    pool = GraphPool(0.5, 3).eval()
    pool(torch.randn(2, 6, 3)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in pool.parameters())


def test_pooling_exports_with_any_number_of_nodes(tmp_path: Path) -> None:
    pool = GraphPool(0.5, 3).eval()
    save_program(pool, torch.randn(2, 11, 3), tmp_path / "pool.pt2")
    x = torch.randn(3, 20, 3)
    torch.testing.assert_close(torch.export.load(tmp_path / "pool.pt2").module()(x), pool(x))
