"""The voice-activity study's systems and tables; its runs themselves take an hour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dyn_lightning.models.crnn_vad import CRNNVAD
from experiments.study import slug
from experiments.vad.systems import BUDGETS, all_systems, full_complexity, uniform_sizes
from experiments.vad.table import rows, studies, write_tables


def record(system: str, seed: int, eer: float, **changes: Any) -> dict[str, Any]:
    return {
        "config": {"system": system, "epochs": 8, "items_per_epoch": 64, "batch_size": 32},
        "seed": seed,
        "dataset": "here",
        "control": False,
        "settles": True,
        "resumed": False,
        "metrics": {"test/mixed/eer": eer, "test/ami/eer": 2 * eer},
        "parameters": 1000,
        "flops_per_second": 6e6,
        "flops_per_second_full": [2e6, 10e6],
        "flops_per_second_paper": 5e6,
        "flops_per_second_published": 1e6,
        "wall_time_s": 10.0,
        "widths": {"conv": [3, 8]},
    } | changes


@pytest.mark.parametrize("share", BUDGETS.values())
def test_uniform_networks_cost_the_budget_and_keep_proportions(share: float) -> None:
    sizes, cost = uniform_sizes(share), full_complexity()
    narrow = {"mel": sizes["n_mels"], "conv": sizes["channels"]}
    flops = cost.flops_at({**narrow, "gru-l0": sizes["hidden_size"], "gru-l1": sizes["hidden_size"]})
    budget = cost.fixed_flops() + share * cost.learnable_flops()
    assert flops == pytest.approx(budget, rel=0.02)
    assert sizes["n_mels"] == sizes["channels"] == round(80 * sizes["hidden_size"] / 256)
    CRNNVAD(**sizes)


def test_every_system_can_be_built_and_has_a_folder_of_its_own() -> None:
    systems = all_systems()
    assert len({slug(s.name) for s in systems}) == len(systems)
    assert [s.learns for s in systems if s.name.startswith(("full", "uniform"))] == [False] * 3
    for system in systems:
        module = system.module(lr=1e-3)
        assert bool(module.widths) == system.learns


def test_rows_hold_means_over_seeds_and_shares_of_what_is_learnable() -> None:
    (row,) = rows([record("learned 25 %", 0, 0.06), record("learned 25 %", 1, 0.08)], {"learned 25 %": 0.01})
    assert row["EER %"] == "7.00 ± 1.41"
    assert row["AMI EER %"] == "14.00 ± 2.83"
    assert row["learnable %"] == "50.00 ± 0.00"
    assert row["RTF"] == "0.01000"
    assert row["sizes"] == "3; 3"


def test_runs_on_other_data_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    from dyn_lightning.report import append_result

    for r in (record("full", 0, 0.1), record("full", 0, 0.2, dataset="there"), record("full", 1, 0.1)):
        append_result(tmp_path / "r.jsonl", r)
    write_tables(tmp_path / "r.jsonl", tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert text.index("here") < text.index("there")
    assert "| full | 2 | 10.00 ± 0.00 |" in text
    assert (tmp_path / "results.png").stat().st_size > 1000
    assert len(studies([record("a", 0, 0.1), record("a", 0, 0.1, dataset="b")])) == 2
