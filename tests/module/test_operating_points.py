"""One network at several budgets: sizes, statistics, metrics, and what is written of them."""

import json
from copy import deepcopy

import pytest
import torch
from torch import nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.module.evaluation import evaluate
from dyn_lightning.module.operating_points import accuracy_cost_curve, budgets, curve_table, save_curve, sizes_for
from dyn_lightning.network.batch_norm import reestimate
from dyn_lightning.tasks import Regression


def trained(freeze: bool = True) -> nn.Module:
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4)
    )
    dynamic = dynamize(plain, torch.randn(4, 8))
    for width, size in zip(dynamic.widths.values(), (24, 8), strict=True):
        width.set_lam(size / width.full_size)
        if freeze:
            width.freeze(size)
    with torch.no_grad():
        dynamic.train()(torch.randn(64, 8))
    return dynamic.eval()


def batches(n: int = 3) -> list[dict]:
    generator = torch.Generator().manual_seed(1)
    sizes = [5, 7, 2][:n]
    return [
        {"input": torch.randn(s, 8, generator=generator), "target": torch.randn(s, 4, generator=generator)}
        for s in sizes
    ]


@pytest.mark.parametrize("freeze", [True, False])
def test_sizes_meet_the_budget_and_keep_their_proportions(freeze):
    dynamic = trained(freeze)
    complexity = dynamic.complexity
    now = complexity.sizes_now
    for share in (0.3, 0.1, 0.05):
        budget = complexity.fixed_flops() + share * complexity.learnable_flops()
        sizes = sizes_for(dynamic, share=share)
        assert sizes == sizes_for(dynamic, flops_per_second=budget)
        cost = complexity.flops_at(sizes)
        assert cost <= budget
        assert all(sizes[name] <= now[name] for name in sizes)
        one_more = [complexity.flops_at({**sizes, n: s + 1}) for n, s in sizes.items()]
        assert cost > 0.98 * budget or min(one_more) > budget
    assert sizes_for(dynamic, share=1.0) == now
    assert dynamic.complexity.sizes_now == now
    first, second = (sizes_for(dynamic, share=0.1)[name] / size for name, size in now.items())
    assert first == pytest.approx(second, abs=0.13)


def test_wrong_budgets_are_named():
    dynamic = trained()
    with pytest.raises(ValueError, match="give a budget as one of"):
        sizes_for(dynamic)
    with pytest.raises(ValueError, match="give a budget as one of"):
        sizes_for(dynamic, share=0.1, flops_per_second=1.0)
    with pytest.raises(ValueError, match="share must lie"):
        sizes_for(dynamic, share=1.5)
    with pytest.raises(ValueError, match=r"a budget of 1 flops per call is out of reach: the least sizes cost \d+$"):
        sizes_for(dynamic, flops_per_second=1.0)


def test_evaluation_is_over_all_items():
    network, task = trained(), Regression()
    network.train()
    found = evaluate(network, task, batches())
    assert network.training
    network.eval()
    x, y = (torch.cat([b[k] for b in batches()]) for k in ("input", "target"))
    expected = float((network(x) - y).abs().mean().detach())
    assert found["l1"] == pytest.approx(expected, rel=1e-5)
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="no batches"):
        evaluate(network, task, [])


def test_curve_is_that_of_the_consolidated_networks():
    dynamic, task = trained(), Regression()
    before = deepcopy(dynamic.state_dict())
    statistics = [b["input"] for b in batches()]
    rows = accuracy_cost_curve(dynamic, task, batches(), points=4, statistics=statistics)
    torch.testing.assert_close(dict(dynamic.state_dict()), dict(before), rtol=0, atol=0)
    assert [row["budget"] for row in rows] == budgets(dynamic.complexity, 4)[: len(rows)]
    assert rows[0]["sizes"] == dynamic.complexity.sizes_now
    costs = [row["flops_per_call"] for row in rows]
    assert costs == sorted(costs, reverse=True)
    assert len(rows) >= 3
    for row in rows:
        again = deepcopy(dynamic)
        for name, size in row["sizes"].items():
            again.widths[name].freeze(size)
        reestimate(again, statistics)
        small, report = consolidate(again)
        assert report.flops == row["flops_per_call"]
        assert report.parameters == row["parameters"]
        assert evaluate(small, task, batches())["l1"] == pytest.approx(row["metrics"]["l1"], rel=1e-4)
    stale = accuracy_cost_curve(dynamic, task, batches(), points=4)
    assert stale[-1]["metrics"]["l1"] != pytest.approx(rows[-1]["metrics"]["l1"], rel=1e-4)


def test_curve_is_written_and_read(tmp_path):
    metrics = [{"loss": 1.0, "eer": 0.1, "threshold": float("nan")}, {"loss": 2.0, "eer": 0.2, "threshold": 0.0}]
    rows = [
        {"flops_per_second": 10e6 / (i + 1), "share": 0.5, "share_of_all": 0.6, "parameters": 10, "metrics": m}
        for i, m in enumerate(metrics)
    ]
    assert save_curve(rows, tmp_path / "a.curve") == "eer"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.curve.json", "a.curve.png"]
    again = json.loads((tmp_path / "a.curve.json").read_text())
    assert [row["metrics"]["eer"] for row in again] == [0.1, 0.2]
    assert again[0]["metrics"]["threshold"] is None
    assert (tmp_path / "a.curve.png").read_bytes()[:4] == b"\x89PNG"
    assert "10.000" in curve_table(rows, "eer")
    assert save_curve(rows, tmp_path / "a.curve", metric="loss") == "loss"
    with pytest.raises(ValueError, match="accuracy is none of"):
        save_curve(rows, tmp_path / "b", metric="accuracy")
    with pytest.raises(ValueError, match="no points"):
        save_curve([], tmp_path / "b")
