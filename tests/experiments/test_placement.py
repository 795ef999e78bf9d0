"""The study of placement: which sizes it has learned, which budgets are out of reach, tables and sweep files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
import yaml

from dyn_lightning.cli import main
from dyn_lightning.runs import append_result
from dyn_lightning.sweep.file import read_sweep, runs_of
from experiments.cases import CASES, AntiSpoofing, Case, VoiceActivity, full_flops, least_share
from experiments.grid import FULL
from experiments.placement.run import STUDY
from experiments.placement.systems import BUDGETS, PLACEMENTS, TASKS, all_systems
from experiments.placement.table import rows, write_tables
from experiments.study import slug

FOLDER = Path(__file__).parents[2] / "experiments/placement"


def record(case: Case, system: str, seed: int, error: float, flops: float) -> dict[str, Any]:
    return {
        "config": {"system": system, **case.settings()},
        "seed": seed,
        "dataset": "here",
        "metrics": {"val/eer": error / 2, "test/eer": error},
        "flops_per_second": flops,
        "flops_per_second_before": 100.0,
        "parameters": 1000 + seed,
        "widths": {} if system == "full" else {"gru-l0": [10 + seed, 256]},
    }


def test_sizes_of_each_placement() -> None:
    learned = {s.name: set(s.module(VoiceActivity()).widths) for s in all_systems(VoiceActivity())}
    assert learned == {
        "full": set(),
        "first layer, 95 %": {"mel"},
        "convolution, 95 %": {"conv"},
        **{f"recurrent, {share} %": {"gru-l0", "gru-l1"} for share in (95, 50, 25)},
        **{f"all, {share} %": {"mel", "conv", "gru-l0", "gru-l1"} for share in (95, 50, 25)},
    }


def test_placements_of_the_residual_network_divide_its_sizes() -> None:
    case = AntiSpoofing()
    systems = {s.name: s for s in all_systems(case)}
    inner, residual, everything = (
        set(systems[f"{name}, 25 %"].module(case).widths) for name in ("inner convolutions", "residual streams", "all")
    )
    assert (len(inner), len(residual)) == (3 + 4 + 6 + 3, 4)
    assert inner | residual | {"resnet-embedding"} == everything
    assert not inner & residual
    stack = set(systems["first stack, 85 %"].module(case).widths)
    assert stack == {"resnet-stem", *(f"resnet-stacks-0-{block}-conv1" for block in range(3))}
    assert "first stack, 50 %" not in systems


@pytest.mark.parametrize("task", TASKS)
def test_the_first_budget_is_in_everyone_s_reach(task: str) -> None:
    case = CASES[task]()
    names = [s.name for s in all_systems(case)]
    assert names[0] == FULL.name
    assert [n.rpartition(", ")[0] for n in names[1 : 1 + len(PLACEMENTS[task])]] == list(PLACEMENTS[task])
    assert len({slug(name) for name in names}) == len(names)
    assert STUDY.parse(["--task", task]).case == case


def test_rows_say_what_is_out_of_reach(tmp_path: Path) -> None:
    case = VoiceActivity()
    records = [record(case, "recurrent, 25 %", seed, 0.1 + 0.02 * seed, 24.0) for seed in (1, 0)]
    records += [record(case, "full", 0, 0.05, 100.0), record(case, "first layer, 95 %", 0, 0.06, 94.5)]
    table = rows(records)
    assert len(table) == 1 + len(BUDGETS["vad"]) * len(PLACEMENTS["vad"])
    full, first, *_ = table
    error = "EER on the mixed test set, %"
    assert (full["budget %"], full["dynamic"], full[error]) == ("–", "full size", "5.00")
    assert (first["budget %"], first["FLOPs % of full"], first["seeds"]) == ("95", "94.5", 1)
    quarter = {row["dynamic"]: row for row in table if row["budget %"] == "25"}
    assert quarter["recurrent"][error] == "11.00 ± 1.41"
    assert quarter["recurrent"]["sizes"] == "10, 11"
    assert quarter["first layer"]["FLOPs % of full"] == "out of reach: least 91.8"
    assert quarter["first layer"][error] == quarter["all"]["FLOPs % of full"] == "–"
    for r in records:
        append_result(tmp_path / "r.jsonl", r)
    write_tables(tmp_path / "r.jsonl", tmp_path)
    assert "| 25 | recurrent | 2 | 24.0 ± 0.0 |" in (tmp_path / "results.md").read_text()
    assert matplotlib.image.imread(tmp_path / "results_vad.png").std() > 0.02


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_sweep_files_have_placements_in_reach_of_their_budget(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(FOLDER.parents[1])
    monkeypatch.setattr("sys.argv", ["dyn-lightning"])
    task = path.stem.removeprefix("sweep_")
    case = AntiSpoofing(preset="full") if task == "antispoofing" else CASES[task]()
    runs = runs_of(read_sweep(path))
    budget = runs[0].parameters["model.objective.init_args.flops_per_second"]
    share = budget / full_flops(case)
    # The small network's least shares are within 6.5 points of the large one's, and that much faster to find.
    reachable = [p for p in PLACEMENTS[task].values() if least_share(CASES[task](), p) < share]
    assert {tuple(run.parameters["model.dynamic"]) for run in runs} == {("*",) if p is None else p for p in reachable}
    assert len(runs) == 3 * len(reachable)
    assert any(share == pytest.approx(known, rel=1e-4) for known in BUDGETS[task])
    with pytest.raises(SystemExit) as stop:
        main([*runs[0].command[4:], "--print_config"])
    assert stop.value.code == 0
    model = yaml.safe_load(capsys.readouterr().out)["model"]
    assert model["dynamic"] == list(runs[0].parameters["model.dynamic"])
    assert model["objective"]["init_args"]["flops_per_second"] == budget
    assert model["objective"]["init_args"]["share"] is None
