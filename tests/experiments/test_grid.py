"""What studies with many settings of one network share, on runs of seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dyn_lightning.callbacks import Reorder
from dyn_lightning.objectives import FlopsBudget, LambdaSquared
from dyn_lightning.runs import append_result, read_results
from experiments.cases import Case, Digits, full_flops
from experiments.grid import (
    FULL,
    Grid,
    System,
    error_of,
    first_of_tasks,
    flops_percent,
    runs_of,
    sizes_text,
    studies,
)

PAPER = System("paper", beta=50.0, lam_min=0.5)
BUDGET = System("budget", share=0.25)
TINY = ["--epochs", "4", "--batch_size", "90", "--lr", "0.01", "--seeds", "0"]


def systems(case: Case) -> list[System]:
    return [FULL, PAPER, BUDGET]


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    def write(results: Any, folder: Path) -> None:
        (folder / "written.txt").write_text(str(results))

    return Grid(tmp_path / "study", "A study.", ("digits", "filter_bank"), systems, write)


def record(system: str = "full", seed: int = 0, error: float = 0.1, flops: float = 2e5, **changes: Any) -> Any:
    return {
        "config": {"system": system, **Digits().settings()},
        "seed": seed,
        "dataset": "here",
        "metrics": {"val/error_rate": error / 2, "test/error_rate": error},
        "flops_per_call": flops,
        "flops_per_call_before": 8e5,
        "wall_time_s": 10.0,
        "widths": {"conv1": [3, 32], "conv2": [8 + seed, 64]},
    } | changes


def test_a_system_has_the_procedure_of_its_objective() -> None:
    assert (FULL.settles, FULL.callbacks(), FULL.objective(Digits())) == (True, [], None)
    assert (PAPER.settles, PAPER.callbacks()) == (False, [])
    assert BUDGET.settles
    assert [type(c) for c in BUDGET.callbacks()] == [Reorder]
    paper, budget = PAPER.objective(Digits()), BUDGET.objective(Digits())
    assert isinstance(paper, LambdaSquared)
    assert paper.beta == 50.0
    assert isinstance(budget, FlopsBudget)
    assert budget.flops_per_second == 0.25 * full_flops(Digits())
    modules = [system.module(Digits(lr_growth=0.5)) for system in (FULL, PAPER, BUDGET)]
    assert [m.hparams["boundary"] for m in modules[1:]] == ["paper", "taper"]
    assert [m.lr_growth for m in modules] == [0.0, 0.0, 0.5]


def test_settings_of_the_task_are_options(grid: Grid, capsys: pytest.CaptureFixture[str]) -> None:
    args = grid.parse(["--task", "digits", "--lr", "0.5", "--only", "budget"])
    assert args.case == Digits(lr=0.5)
    assert args.systems == [BUDGET]
    assert grid.parse(["--task", "filter_bank", "--steps_per_epoch", "7"]).case.steps_per_epoch == 7
    assert grid.parse([]).systems == [FULL, PAPER, BUDGET]
    for words, message in (
        (["--task", "digits", "--steps_per_epoch", "7"], "unrecognized arguments"),
        (["--task", "vad"], "invalid choice"),
        (["--only", "nothing"], "no system is called 'nothing'"),
    ):
        with pytest.raises(SystemExit):
            grid.parse(words)
        assert message in capsys.readouterr().err


def test_a_tiny_study_and_what_is_not_run_again(grid: Grid, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results.jsonl"
    arguments = [*TINY, "--runs", str(tmp_path / "runs"), "--results", str(results)]
    args = grid.parse(arguments)
    for system in args.systems:
        append_result(results, grid.train((system, 0, args)))
    full, paper, budget = read_results(results)
    assert flops_percent(full) == 100.0
    assert full["widths"] == {}
    # β is so great that all goes down to λ_min.
    assert paper["widths"] == {"conv1": [16, 32], "conv2": [32, 64]}
    assert (paper["beta"], paper["lam_min"], paper["share"], paper["dynamic"]) == (50.0, 0.5, None, None)
    assert 20.0 < flops_percent(budget) <= 25.0
    for learned in (paper, budget):
        assert learned["phase"] == "settle"
        assert learned["largest_relative_difference"] < 1e-5
        assert not learned["resumed"]
    assert error_of(full) == 100 * full["metrics"]["test/error_rate"] < 50
    assert "25.0" in grid.summary(budget) or "24." in grid.summary(budget)
    assert len(list((tmp_path / "runs" / "digits").iterdir())) == 3

    grid.main(arguments)
    assert "0 runs to do, 3 done" in capsys.readouterr().out
    assert (tmp_path / "written.txt").read_text() == str(results)
    assert len(read_results(results)) == 3


def test_values_of_records() -> None:
    assert flops_percent(record()) == 25.0
    assert error_of(record(error=0.125)) == 12.5
    assert error_of(record(error=0.125), "val") == 6.25
    vad = {"config": {"task": "vad"}, "metrics": {"test/mixed/eer": 0.25, "test/ami/eer": 0.5, "val/eer": 0.125}}
    assert (error_of(vad), error_of(vad, "val")) == (25.0, 12.5)
    alone = {"config": {"task": "vad"}, "metrics": {"test/eer": 0.5}}
    assert error_of(alone) == 50.0
    assert sizes_text([record(seed=1), record(seed=0), record(seed=0)]) == "3/8, 3/9"
    assert sizes_text([record(widths={})]) == "–"
    assert [r["seed"] for r in runs_of("full", [record(seed=2), record("a"), record(seed=1)])] == [1, 2]


def test_runs_with_other_settings_or_data_stand_apart() -> None:
    longer = record()
    longer["config"] = {**longer["config"], "epochs": 99}
    records = [record(dataset="there"), longer, record(), record("budget")]
    found = studies(records)
    assert [len(runs) for runs in found.values()] == [2, 1, 1]
    head = next(iter(found))
    assert head.startswith("## digits: here\n")
    assert "batch_size 30" in head
    assert first_of_tasks(found) == {"digits": [record(), record("budget")]}
