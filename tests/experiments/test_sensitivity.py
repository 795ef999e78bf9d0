"""The study of β and λ_min: its surfaces against other implementations, its systems, tables and sweep files."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import yaml
from scipy.optimize import curve_fit
from sklearn.metrics import r2_score

from dyn_lightning.cli import main
from dyn_lightning.runs import append_result
from dyn_lightning.sweep.file import read_sweep, runs_of
from experiments.cases import Digits, FilterBank, VoiceActivity
from experiments.sensitivity.run import STUDY
from experiments.sensitivity.surface import CENTRE, TERMS, fit_surface
from experiments.sensitivity.systems import BETAS, BUDGETS, LAM_MINS, TASKS, all_systems, paper
from experiments.sensitivity.table import (
    coefficient_rows,
    different,
    main_effects,
    responses,
    rows,
    surfaces,
    write_tables,
)
from experiments.study import slug

FOLDER = Path(__file__).parents[2] / "experiments/sensitivity"
SWEEPS = sorted(FOLDER.glob("*.yaml"))
POINTS = np.array([pair for pair in itertools.product(BETAS, LAM_MINS) for _ in range(3)])


def quadratic(at: Any, *c: float) -> Any:
    b, lam = np.log2(at[0]) + 1, np.log2(at[1]) + 2
    return c[0] + c[1] * b + c[2] * lam + c[3] * b * b + c[4] * b * lam + c[5] * lam * lam


def record(system: str, seed: int, error: float, flops: float, **changes: Any) -> dict[str, Any]:
    return {
        "config": {"system": system, **Digits().settings()},
        "seed": seed,
        "dataset": "here",
        "beta": None,
        "lam_min": None,
        "share": None,
        "metrics": {"val/error_rate": error / 2, "test/error_rate": error},
        "flops_per_call": flops,
        "flops_per_call_before": 100.0,
        "widths": {"conv1": [3, 32]},
    } | changes


def records(betas: Any = BETAS, lam_mins: Any = LAM_MINS) -> list[dict[str, Any]]:
    """FLOPs are 100·λ_min, and the error is 0.1·β plus 0.02 in the second of two seeds."""
    grid = [
        record(paper(b, m).name, seed, 0.1 * b + 0.02 * seed, 100 * m, beta=b, lam_min=m)
        for b, m, seed in itertools.product(betas, lam_mins, (0, 1))
    ]
    budgets = [record(f"budget {100 * s:g} %", 0, 0.1, 99 * s, share=s) for s in BUDGETS]
    return [*reversed(grid), *reversed(budgets), record("full", 0, 0.05, 100.0, widths={})]


def test_a_quadratic_is_found_again() -> None:
    wanted = (3.0, -1.0, 2.0, 0.5, -0.25, 0.125)
    surface = fit_surface(*POINTS.T, quadratic(POINTS.T, *wanted))
    np.testing.assert_allclose(surface.coefficients, wanted, atol=1e-10)
    assert surface.r_squared == pytest.approx(1.0)
    assert surface(*CENTRE) == pytest.approx(3.0)
    at = np.array([[0.2, 0.7], [0.1, 0.4]])
    np.testing.assert_allclose(surface(*at), quadratic(at, *wanted))
    assert len(TERMS) == len(wanted)


def test_coefficients_and_explained_variance_are_those_of_other_implementations() -> None:
    values = np.sin(3 * POINTS[:, 0]) + POINTS[:, 1] + 0.3 * np.random.default_rng(0).standard_normal(len(POINTS))
    surface = fit_surface(*POINTS.T, values)
    wanted, _ = curve_fit(quadratic, POINTS.T, values, p0=np.zeros(6))
    np.testing.assert_allclose(surface.coefficients, wanted, rtol=1e-4, atol=1e-5)
    assert surface.r_squared == pytest.approx(r2_score(values, surface(*POINTS.T)))
    means = values.reshape(16, 3).mean(1).repeat(3)
    assert surface.r_squared_largest == pytest.approx(r2_score(values, means))
    assert surface.r_squared < surface.r_squared_largest < 1


def test_too_few_pairs_determine_no_surface() -> None:
    two = POINTS[np.isin(POINTS[:, 0], BETAS[:2])]
    with pytest.raises(ValueError, match="24 runs determine 5 of 6"):
        fit_surface(*two.T, np.ones(24))
    assert surfaces([r for r in records(BETAS[:2]) if r["beta"]]) == {}
    assert surfaces([]) == {}


def test_systems_are_the_whole_grid_and_budgets_within_reach() -> None:
    systems = all_systems(Digits())
    assert len({slug(s.name) for s in systems}) == len(systems) == 1 + 4 + 16
    assert {(s.beta, s.lam_min) for s in systems if s.beta} == set(itertools.product(BETAS, LAM_MINS))
    assert all(s.dynamic is None for s in systems[1:])
    # No more than one unit of everything: 3.8 % of CRNNVAD.
    assert [s.share for s in all_systems(VoiceActivity()) if s.share] == list(BUDGETS)
    assert [STUDY.parse(["--task", task]).case.name for task in TASKS] == list(TASKS)


def test_rows_and_main_effects_by_hand() -> None:
    table = rows(records())
    assert [row["system"] for row in table[:6]] == [
        "full",
        "budget 50 %",
        "budget 25 %",
        "budget 12.5 %",
        "budget 6.25 %",
        "β 0.1, λ ≥ 0.0625",
    ]
    assert table[-1] == {
        "system": "β 2, λ ≥ 0.5",
        "seeds": 2,
        "FLOPs % of full": "50.0 ± 0.0",
        "validation": "10.50 ± 0.71",
        "error rate on test, %": "21.00 ± 1.41",
        "sizes": "3",
    }
    effects = main_effects([r for r in records() if r["beta"]])
    assert [(row["factor"], row["level"]) for row in effects] == [
        *(("β", f"{b:g}") for b in BETAS),
        *(("λ_min", f"{m:g}") for m in LAM_MINS),
    ]
    assert effects[1]["error rate on test, %"] == "6.00 ± 1.41"
    assert effects[1]["FLOPs % of full"] == "23.4 ± 0.0"
    assert effects[-1]["error rate on test, %"] == "10.00 ± 1.41"
    assert effects[-1]["FLOPs % of full"] == "50.0 ± 0.0"
    fits = surfaces([r for r in records() if r["beta"]])
    error, flops = coefficient_rows(fits)
    assert (error["response"], flops["response"]) == ("error rate on test, %", "FLOPs % of full")
    assert float(error["l"]) == float(error["b·l"]) == float(flops["b"]) == pytest.approx(0)
    # 100·λ_min = 25·2^l, by its parabola of least squares through l = −2 … 1
    wanted = np.polyfit([-2, -1, 0, 1], [6.25, 12.5, 25, 50], 2)
    assert [float(flops[t]) for t in ("l²", "l", "1")] == pytest.approx(wanted, abs=0.005)
    assert flops["largest R²"] == "1.00"
    one_seed = coefficient_rows(surfaces([r for r in records() if r["beta"] and r["seed"] == 0]))
    assert one_seed[0]["largest R²"] == "–"


def test_runs_that_are_the_same_count_once() -> None:
    grid = [r for r in records() if r["beta"]]
    for r in grid:
        r["widths"] = {"conv1": [max(8, round(32 * r["lam_min"])), 32]}  # 8, 8, 8 and 16
    assert different(grid) == len(BETAS) * 2 * 2
    grid[0]["metrics"] = {"test/error_rate": 0.999}
    assert different(grid) == len(BETAS) * 2 * 2
    grid[2]["metrics"] = {"test/error_rate": 0.999}
    assert different(grid) == len(BETAS) * 2 * 2 + 1


def test_errors_far_apart_are_compared_by_their_logarithms() -> None:
    found = [r for r in records() if r["beta"]]
    for r in found:
        r["config"] = {"system": r["config"]["system"], **FilterBank().settings()}
        r["metrics"] = {"test/l1": 10 ** r["beta"]}
    name, value = next(iter(responses(found[0]).items()))
    assert name == "log10 of L1 on test, % of the mean target"
    assert [value(r) - 2 for r in found] == pytest.approx([r["beta"] for r in found])
    assert surfaces(found)[name](2.0, 0.25) == pytest.approx(4.0, abs=0.1)


def test_tables_and_figures_of_whole_and_of_unfinished_grids(tmp_path: Path) -> None:
    for name, found in {"whole": records(), "few": records(BETAS[:1]), "budgets": records(())}.items():
        for r in found:
            append_result(tmp_path / f"{name}.jsonl", r)
        write_tables(tmp_path / f"{name}.jsonl", tmp_path / name)
        text = (tmp_path / name / "results.md").read_text()
        assert ("Coefficients" in text) == (name == "whole")
        assert ("Main effects" in text) == (name != "budgets")
        image = matplotlib.image.imread(tmp_path / name / "results_digits.png")
        assert image.std() > 0.02


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_sweep_files_have_the_grid_and_the_paper_s_procedure(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(FOLDER.parents[1])
    monkeypatch.setattr("sys.argv", ["dyn-lightning"])
    runs = runs_of(read_sweep(path))
    assert len(runs) == 3 * len(BETAS) * len(LAM_MINS)
    names = ("model.objective.init_args.beta", "clamp.lam_min")
    assert {tuple(run.parameters[n] for n in names) for run in runs} == set(itertools.product(BETAS, LAM_MINS))
    with pytest.raises(SystemExit) as stop:
        main([*runs[-1].command[4:], "--print_config"])
    assert stop.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["model"]["objective"] == {
        "class_path": "dyn_lightning.objectives.LambdaSquared",
        "init_args": {"beta": 2},
    }
    assert (config["clamp"]["lam_min"], config["model"]["boundary"]) == (0.5, "paper")
    assert config["phases"]["search_epochs"] is None
