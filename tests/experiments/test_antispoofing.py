"""The anti-spoofing study on a made-up corpus and a network that trains in a second."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from dyn_lightning.data.score_files import read_scores
from dyn_lightning.inference.scoring import evaluate_scores
from dyn_lightning.module import DynamicModule
from dyn_lightning.runs import append_result
from experiments.antispoofing.data import FewUtterances, data_name, first_of_each, is_published
from experiments.antispoofing.run import SCORES, STUDY
from experiments.antispoofing.systems import (
    BUDGETS,
    PRESETS,
    STACKS,
    Settings,
    System,
    all_systems,
    full_complexity,
    uniform_sizes,
)
from experiments.antispoofing.table import figure, rows, rows_by_attack, rows_of_sizes, studies, write_tables
from experiments.study import slug
from tests.data.asvspoof_tree import make_2019

TINY = Settings(channels=(4, 4, 8, 8), embedding_size=8, n_samples=2000, epochs=4, batch_size=6, lr=1e-3)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_2019(tmp_path_factory.mktemp("data") / "Made" / "LA", n_samples=2100)


def job(corpus: Path, runs: Path, system: System, seed: int = 0) -> tuple[System, int, argparse.Namespace]:
    options = {"per_system": None, "jobs": 2, "num_workers": 0, "settings": TINY}
    args = argparse.Namespace(data_root=str(corpus), runs=str(runs), **options)
    return system, seed, args


def system_called(name: str, settings: Settings = TINY) -> System:
    return next(s for s in all_systems(settings) if s.name == name)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("share", BUDGETS.values())
def test_uniform_networks_cost_about_the_budget_and_keep_proportions(preset: str, share: float) -> None:
    settings = PRESETS[preset]
    sizes = uniform_sizes(settings, share)
    system = System("uniform", "uniform", sizes=sizes, share=share, dynamic=[])
    cost, full = system.module(settings).complexity, full_complexity(settings)
    # Eight channels have few neighbours: up to 4 % beside the budget.
    assert cost.flops_full_size() == pytest.approx(
        share * full.flops_full_size(), rel=0.015 if preset == "full" else 0.04
    )
    factor = sizes["channels"][3] / settings.channels[3]
    for narrow, wide in zip(sizes["channels"], settings.channels, strict=True):
        assert narrow == pytest.approx(factor * wide, abs=1.0)


def test_every_system_has_a_folder_of_its_own_and_the_paper_s_grid_is_complete() -> None:
    systems = all_systems(PRESETS["mini"])
    assert len({slug(s.name) for s in systems}) == len(systems) == 1 + 4 + 4 + 5 * 4
    assert [s.name for s in systems[:3]] == ["full", "learned 6.25 %", "uniform 6.25 %"]
    assert len(STUDY.parse(["--preset", "mini"]).systems) == 1 + 4 + 4 + 4 + 4 * 2


def test_a_stack_s_sizes_are_its_residual_width_and_the_inner_widths_of_its_blocks() -> None:
    inner = {0: 3, 1: 4, 2: 6, 3: 3}
    for stack, blocks in inner.items():
        widths = system_called(f"paper, stack {stack}, λ ≥ 0.25").module(TINY).widths
        residual = "resnet-stem" if stack == 0 else f"resnet-stacks-{stack}-0-conv2"
        assert set(widths) == {residual, *(f"resnet-stacks-{stack}-{j}-conv1" for j in range(blocks))}
    assert len(system_called("paper, all stacks, λ ≥ 0.25").module(TINY).widths) == 4 + sum(inner.values())
    assert set(STACKS) == {"stack 0", "stack 1", "stack 2", "stack 3", "all stacks"}


def test_a_learned_network_ends_within_its_share_of_all_flops(corpus: Path, tmp_path: Path) -> None:
    record = STUDY.train(job(corpus, tmp_path, system_called("learned 50 %")))
    full = full_complexity(TINY).flops_full_size()
    assert record["flops_per_second_full"] == record["flops_per_second_before"] == full
    assert 0.3 * full < record["flops_per_second"] <= 0.5 * full
    assert record["phase"] == "settle"
    assert record["largest_relative_difference"] < 1e-4
    low, high = record["eer_interval"]
    assert 0.0 <= low <= high <= 1.0
    assert {"val/eer", "test/eer", "test/eer_A07", "test/eer_A09"} <= set(record["metrics"])
    assert not record["published_corpus"]
    assert "50" in STUDY.summary(record)
    (scores,) = tmp_path.rglob(SCORES)
    table = read_scores(scores)
    assert set(table.systems) == {"-", "A07", "A08", "A09"}
    assert evaluate_scores(table, n_resamples=2)["eer"] == pytest.approx(record["metrics"]["test/eer"])


def test_the_paper_s_setting_searches_to_the_end_and_keeps_to_its_stack(corpus: Path, tmp_path: Path) -> None:
    record = STUDY.train(job(corpus, tmp_path, system_called("paper, stack 3, λ ≥ 0.5")))
    assert len(record["widths"]) == 4
    assert all(full // 2 <= kept <= full for kept, full in record["widths"].values())
    assert record["phase"] == "settle"  # frozen for the artifact, after the test
    assert record["largest_relative_difference"] < 1e-4


def test_a_run_that_was_killed_goes_on_to_the_same_end(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = system_called("learned 50 %")
    straight = STUDY.train(job(corpus, tmp_path / "straight", system))

    def killed(self: DynamicModule, *_: Any) -> None:
        if self.current_epoch == 2:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(DynamicModule, "on_train_batch_start", killed, raising=False)
        with pytest.raises(RuntimeError, match="killed"):
            STUDY.train(job(corpus, tmp_path / "killed", system))
    resumed = STUDY.train(job(corpus, tmp_path / "killed", system))
    assert resumed["resumed"]
    assert not straight["resumed"]
    for key in ("metrics", "widths", "flops_per_second", "eer_interval"):
        assert resumed[key] == straight[key]


def test_the_full_network_is_also_tested_at_its_last_checkpoint(corpus: Path, tmp_path: Path) -> None:
    record = STUDY.train(job(corpus, tmp_path, system_called("full")))
    assert set(record["metrics_last"]) == set(record["metrics"])
    assert record["widths"] == {}
    assert record["flops_per_second"] == record["flops_per_second_full"]


def test_data_that_are_not_the_published_corpus_say_so(corpus: Path) -> None:
    assert not is_published(str(corpus))
    assert data_name(str(corpus)) == (
        "Made, which is not ASVspoof2019 LA: train 3 + 4, dev 3 + 4, eval 3 + 6 utterances, bona fide + spoofed"
    )


def test_the_first_utterances_of_each_system_are_a_corpus_to_try(corpus: Path) -> None:
    data = FewUtterances(str(corpus), 1, batch_size=2, n_samples=2000)
    data.setup()
    data.setup("fit")
    assert data.train_set is not None
    assert [(u.system, u.utterance_id) for u in data.train_set.utterances] == [
        ("-", "LA_T_0000000"),
        ("A01", "LA_T_0000003"),
        ("A02", "LA_T_0000005"),
    ]
    assert [len(data.eval_sets[part]) for part in ("dev", "eval")] == [3, 4]
    (batch, rest) = data.test_dataloader()[0]
    assert batch["meta"]["system"] + rest["meta"]["system"] == ["-", "A07", "A08", "A09"]
    assert batch["utterance_id"] == [u.utterance_id for u in data.eval_sets["eval"].utterances[:2]]
    everyone = FewUtterances(str(corpus), 3)
    everyone.setup("fit")
    assert everyone.train_set is not None
    assert first_of_each(everyone.train_set.utterances, 2) != list(everyone.train_set.utterances)
    assert len(everyone.train_set) == 7


def test_what_is_tried_is_named_apart_from_the_corpus(corpus: Path) -> None:
    given = ([], ["--per_system", "2"])
    whole, tried = (STUDY.dataset(STUDY.parse(["--data_root", str(corpus), *more])) for more in given)
    assert tried == f"{whole}; of each system the first 2 alone"


def test_the_command_line_changes_the_preset_and_knows_its_systems(capsys: pytest.CaptureFixture[str]) -> None:
    args = STUDY.parse(["--preset", "mini", "--epochs", "3", "--only", "full", "--seeds", "4", "5"])
    assert args.settings == replace(PRESETS["mini"], epochs=3)
    assert [s.name for s in args.systems] == ["full"]
    assert args.seeds == [4, 5]
    assert STUDY.parse([]).seeds == [0, 1, 2, 3, 4]
    with pytest.raises(SystemExit):
        STUDY.parse(["--only", "nothing"])
    assert "no system is called 'nothing'" in capsys.readouterr().err


def record(system: str, kind: str, seed: int, eer: float, flops: float = 50e6, **changes: Any) -> dict[str, Any]:
    return {
        "config": {"system": system, **TINY.as_json()},
        "kind": kind,
        "seed": seed,
        "dataset": "here",
        "published_corpus": False,
        "resumed": False,
        "metrics": {"val/eer": eer / 2, "test/eer": eer, "test/eer_A07": 2 * eer},
        "eer_interval": [eer - 0.02, eer + 0.04],
        "parameters": 1000,
        "flops_per_second": flops,
        "flops_per_second_full": 100e6,
        "wall_time_s": 10.0,
        "widths": {},
    } | changes


def records() -> list[dict[str, Any]]:
    widths = {
        "resnet-stem": [3, 8],
        "resnet-stacks-0-1-conv1": [2, 8],
        "resnet-stacks-0-0-conv1": [1, 8],
        "resnet-embedding": [5, 64],
    }
    return [
        record("paper, stack 0, λ ≥ 0.25", "paper", 0, 0.3, 90e6),
        record("uniform 6.25 %", "uniform", 0, 0.4, 6e6),
        record("learned 6.25 %", "learned", 1, 0.3, 6e6, widths=widths),
        record("learned 6.25 %", "learned", 0, 0.2, 6e6, widths=widths),
        record("learned 50 %", "learned", 0, 0.2),
        record("full", "full", 0, 0.1, 100e6, metrics_last={"test/eer": 0.5}),
    ]


def test_rows_are_means_over_seeds_in_the_order_of_cost() -> None:
    table = rows(records())
    assert [row["system"] for row in table] == [
        "full",
        "full, last checkpoint",
        "learned 50 %",
        "learned 6.25 %",
        "uniform 6.25 %",
        "paper, stack 0, λ ≥ 0.25",
    ]
    assert table[1]["eval EER %"] == "50.0"
    assert table[3]["eval EER %"] == "25.0 ± 7.1"
    assert table[3]["dev EER %"] == "12.5 ± 3.5"
    assert table[3]["95 % interval"] == "23.0 to 29.0"
    assert table[3]["FLOPs % of full"] == "6.0 ± 0.0"
    assert "min t-DCF" not in table[0]
    measured = [record("full", "full", 0, 0.1) | {"metrics": {"test/eer": 0.1, "test/min_tdcf": 0.25}}]
    assert rows(measured)[0]["min t-DCF"] == "0.2500"


def test_attacks_and_sizes_have_tables_of_their_own() -> None:
    assert rows_by_attack(records())[2] == {"system": "learned 6.25 %", "seeds": 2, "A07": "50.0 ± 14.1"}
    sizes = rows_of_sizes(records())
    assert [row["seed"] for row in sizes] == [0, 1]
    assert sizes[0]["stack 0"] == "3 (1 2)"
    assert sizes[0]["stack 1"] == "–"
    assert sizes[0]["embedding"] == "5"


def test_runs_on_other_data_or_settings_stand_apart(tmp_path: Path) -> None:
    other = record("full", "full", 0, 0.2, dataset="there")
    longer = record("full", "full", 0, 0.2)
    longer["config"] = {**longer["config"], "epochs": 9}
    assert len(studies([*records(), other, longer])) == 3
    for r in (other, *records()):
        append_result(tmp_path / "r.jsonl", r)
    write_tables(tmp_path / "r.jsonl", tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert text.index("## here") < text.index("## there")
    assert "| learned 6.25 % | 2 | 6.0 ± 0.0 |" in text
    assert matplotlib.image.imread(tmp_path / "results.png").shape[0] > 300


def test_published_figures_are_drawn_over_the_published_corpus_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[bool] = []
    monkeypatch.setattr("experiments.antispoofing.table._draw_published", lambda axes: drawn.append(True))
    ours = records()
    figure(ours, tmp_path / "a.png")
    mixed = [r | {"published_corpus": i > 0} for i, r in enumerate(ours)]
    figure(mixed, tmp_path / "b.png")
    assert not drawn
    figure([r | {"published_corpus": True} for r in ours], tmp_path / "c.png")
    assert drawn
