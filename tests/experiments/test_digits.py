"""The study on images: its parts, its systems, and a run of seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
import torch
from sklearn.datasets import load_digits

from dyn_lightning.dynamize import dynamize
from dyn_lightning.runs import append_result, read_results
from experiments.digits.data import DigitsDataModule
from experiments.digits.run import STUDY
from experiments.digits.systems import BUDGETS, ConvNet, all_systems, full_complexity, uniform_channels
from experiments.digits.table import names, rows, write_tables


def record(system: str, seed: int, error: float, flops: float, **changes: Any) -> dict[str, Any]:
    return {
        "config": {"system": system, "epochs": 4, "batch_size": 30, "lr": 1e-3},
        "seed": seed,
        "dataset": "here",
        "kind": system.split()[0],
        "metrics": {"val/error_rate": error / 2, "test/error_rate": error},
        "channels": [3, 8 + seed],
        "parameters": 100,
        "flops_per_call": flops,
        "flops_per_call_full": 8e5,
        "wall_time_s": 10.0,
    } | changes


def test_parts_are_all_images_once_in_order() -> None:
    data, digits = DigitsDataModule(), load_digits()
    images, targets = (torch.cat([part.tensors[i] for part in data.parts.values()]) for i in range(2))
    assert torch.equal(16 * images.squeeze(1), torch.tensor(digits.images, dtype=torch.float32))
    assert torch.equal(targets, torch.tensor(digits.target))
    assert [len(part) for part in data.parts.values()] == [900, 300, 597]
    (batch,) = data.test_dataloader()
    assert batch["input"].shape == (597, 1, 8, 8)
    assert torch.equal(batch["target"], torch.tensor(digits.target[1200:]))


def test_cost_of_an_image_by_hand() -> None:
    a, b = 5, 7
    convolutions = 64 * a * (2 * 9 + 1) + 16 * b * (2 * 9 * a + 1)
    relu_and_pooling = (64 + 16 * 3) * a + (16 + 4 * 3) * b
    linear = 10 * (2 * 4 * b + 1)
    assert full_complexity().flops_at({"conv1": a, "conv2": b}) == convolutions + relu_and_pooling + linear
    assert dynamize(ConvNet((a, b)), torch.zeros(1, 1, 8, 8)).complexity.flops_full_size() == pytest.approx(
        convolutions + relu_and_pooling + linear
    )


@pytest.mark.parametrize("share", BUDGETS.values())
def test_uniform_networks_cost_about_the_budget_and_keep_proportions(share: float) -> None:
    first, second = uniform_channels(share)
    assert abs(2 * first - second) <= 1
    flops = full_complexity().flops_at({"conv1": first, "conv2": second})
    assert flops == pytest.approx(share * full_complexity().flops_full_size(), rel=0.04)


def test_a_tiny_study_ends_within_its_budgets_and_is_not_run_again(tmp_path: Path, capsys: Any) -> None:
    results = tmp_path / "results.jsonl"
    arguments = f"--epochs 4 --seeds 0 --lr 0.01 --batch_size 90 --runs {tmp_path / 'runs'} --results {results}".split()
    chosen = ["full", "learned 25 %"]
    args = STUDY.parse([*arguments, "--only", *chosen])
    for system in all_systems()[:2]:
        append_result(results, STUDY.train((system, 0, args)))
    full, learned = read_results(results)
    assert [r["config"]["system"] for r in (full, learned)] == chosen
    assert full["flops_per_call"] == full["flops_per_call_full"] == learned["flops_per_call_full"]
    assert full["channels"] == [32, 64]
    assert learned["flops_per_call"] <= 0.25 * learned["flops_per_call_full"]
    assert learned["channels"] == [kept for kept, _ in learned["widths"].values()]
    assert learned["largest_relative_difference"] < 1e-5
    assert full["metrics"]["test/error_rate"] < 0.5
    STUDY.main([*arguments, "--only", *chosen])
    assert "0 runs to do, 2 done" in capsys.readouterr().out
    assert len(read_results(results)) == 2


def test_unknown_systems_are_named(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        STUDY.parse(["--only", "half"])
    assert "no system is called 'half'" in capsys.readouterr().err
    assert [s.name for s in all_systems()][:2] == ["full", "learned 25 %"]


def test_tables_hold_means_over_seeds(tmp_path: Path) -> None:
    records = [
        record("uniform 25 %", 0, 0.05, 2e5),
        record("learned 25 %", 0, 0.04, 1.9e5),
        record("learned 25 %", 1, 0.06, 2e5),
        record("full", 0, 0.03, 8e5),
        record("learned 6.25 %", 0, 0.1, 5e4),
        record("full", 0, 0.2, 8e5, dataset="there"),
    ]
    assert names(records) == ["full", "learned 25 %", "uniform 25 %", "learned 6.25 %"]
    row = rows(records)[1]
    assert row["test error %"] == "5.00 ± 1.41"
    assert row["FLOPs % of full"] == "24.4 ± 0.9"
    assert row["channels"] == "3/8, 3/9"
    for r in records:
        append_result(tmp_path / "r.jsonl", r)
    write_tables(tmp_path / "r.jsonl", tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert text.index("## here") < text.index("## there")
    assert matplotlib.image.imread(tmp_path / "results.png").std() > 0.02
