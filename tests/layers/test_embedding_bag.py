from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning import consolidate, dynamize
from dyn_lightning.layers import EmbeddingBag
from dyn_lightning.network.plain import plain_complexity
from dyn_lightning.widths.width import Width


class Index(torch.Tensor):
    """Indices stay what they are in a network of another precision."""

    def double(self) -> Any:
        return self


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_embedding_bag(contract, mode: str) -> None:
    contract(
        nn.EmbeddingBag(11, 8, mode=mode, padding_idx=3),
        lambda w: {"out_width": w},
        [8],
        lambda w: (Index(torch.randint(11, (4, 5))),),
    ).check()


CALLS: dict[str, tuple[dict[str, Any], dict[str, Any], int, int]] = {
    # options, further arguments, bags of the 12 entries, FLOPs for each feature
    "mean": ({}, {"offsets": [0, 4, 9]}, 3, 12 + 3),
    "sum": ({"mode": "sum"}, {"offsets": [0, 4, 9]}, 3, 12),
    "max": ({"mode": "max"}, {"offsets": [0, 4, 9]}, 3, 12),
    "an empty bag": ({"mode": "sum"}, {"offsets": [0, 4, 4]}, 3, 12),
    "padding": ({"padding_idx": 2}, {"offsets": [0, 4, 9]}, 3, 12 + 3),
    "last offset": ({"include_last_offset": True}, {"offsets": [0, 4, 9, 12]}, 3, 12 + 3),
    "weights": ({"mode": "sum"}, {"offsets": [0, 4, 9], "per_sample_weights": [0.5] * 12}, 3, 24),
    "a bag a row": ({"mode": "sum"}, {"rows": 4}, 4, 12),
    "weights of rows": ({"mode": "sum"}, {"rows": 4, "per_sample_weights": [0.5, 2.0, 1.0] * 4}, 4, 24),
}


class Bags(nn.Module):
    def __init__(self, given: dict[str, Any], **options: Any) -> None:
        super().__init__()
        self.table, self.last = nn.EmbeddingBag(7, 10, **options), nn.Linear(10, 2)
        self.given = {k: torch.tensor(v) for k, v in given.items() if k != "rows"}
        self.rows = given.get("rows")

    def look(self, entries: Tensor, given: dict[str, Tensor]) -> Tensor:
        return self.table(entries, **given)

    def forward(self, entries: Tensor) -> Tensor:
        given = dict(self.given)
        if self.rows:
            entries = entries.reshape(self.rows, -1)
            given = {k: v.reshape(self.rows, -1) for k, v in given.items()}
        return self.last(self.look(entries, given))


@pytest.mark.parametrize("name", CALLS)
def test_every_form_is_learned_counted_and_consolidated(name: str) -> None:
    torch.manual_seed(0)
    options, given, bags, flops = CALLS[name]
    entries = torch.tensor([0, 2, 5, 1, 6, 6, 2, 3, 0, 4, 1, 5])
    dynamic = dynamize(Bags(given, **options), entries)
    assert {n: w.full_size for n, w in dynamic.widths.items()} == {"table": 10}
    row = next(row for row in dynamic.complexity.rows if row.name == "table")
    assert row.flops["full"].at({"table": 6}) == 6 * flops
    assert row.params.at({"table": 6}) == 7 * 6
    dynamic.widths["table"].freeze(6)
    small, report = consolidate(dynamic, [entries])
    assert report.largest_difference == 0
    assert (small.table.num_embeddings, small.table.embedding_dim) == small.table.weight.shape == (7, 6)
    assert small(entries).shape == (bags, 2)
    assert plain_complexity(small, entries, None).flops_now() == dynamic.complexity.flops_now()


@pytest.mark.parametrize("name", ["mean", "weights", "a bag a row"])
def test_the_function_is_followed_and_costs_the_same(name: str) -> None:
    class Function(Bags):
        def look(self, entries: Tensor, given: dict[str, Tensor]) -> Tensor:
            return F.embedding_bag(entries, self.table.weight, mode=self.table.mode, **given)

    options, given, _, _ = CALLS[name]
    entries = torch.arange(12) % 7
    function, layer = (plain_complexity(kind(given, **options), entries, None) for kind in (Function, Bags))
    assert function.flops_now() == layer.flops_now()
    dynamic = dynamize(Function(given, **options), entries)
    (width,) = dynamic.widths.values()
    width.freeze(6)
    small, report = consolidate(dynamic, [entries])
    assert report.largest_difference == 0
    assert small.table.embedding_dim == 6


def test_a_padding_entry_stays_without_gradient() -> None:
    width = Width(8)
    layer = EmbeddingBag(11, 8, mode="sum", padding_idx=3, out_width=width)
    width.set_lam(0.7)
    layer(torch.tensor([[3, 1, 3, 2]])).sum().backward()
    assert layer.weight.grad is not None
    assert (layer.weight.grad[3] == 0).all()
    assert (layer.weight.grad[1, :5] != 0).all()
