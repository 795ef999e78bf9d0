"""The voice-activity study's systems and tables; its runs themselves take an hour."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dyn_lightning.data.audio import DatasetError
from dyn_lightning.data.clip_store import ClipStore
from dyn_lightning.data.corpora import Clip
from dyn_lightning.dynamize import dynamize
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.models.tr_vad import TrVAD
from dyn_lightning.report.sources import read_published
from dyn_lightning.runs import append_result, read_results
from experiments.study import slug
from experiments.vad import speed
from experiments.vad.run import (
    PUBLISHED_DATA,
    STUDY,
    data_module,
    data_name,
    is_published,
    published_flops,
)
from experiments.vad.speed import network_of
from experiments.vad.systems import BUDGETS, LAM_MINS, PAPER, all_systems, full_complexity, uniform_sizes
from experiments.vad.table import PUBLISHED, family_of, rows, studies, write_tables


def record(system: str, seed: int, eer: float, **changes: Any) -> dict[str, Any]:
    return {
        "config": {"system": system, "epochs": 8, "items_per_epoch": 64, "batch_size": 32, "lr": 1e-3},
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


@pytest.fixture
def vad_root(tmp_path: Path) -> Path:
    """Files of one byte: what is found, not what is heard."""
    for subset, first, n_speakers in (("train-clean-100", 100, 10), ("test-clean", 900, 2)):
        for speaker in range(first, first + n_speakers):
            path = tmp_path / f"LibriSpeech/{subset}/{speaker}/7/{speaker}-7-0000.flac"
            path.parent.mkdir(parents=True)
            path.write_bytes(b"x")
    names = [f"{fold}-1-{take}-0.wav" for fold in range(1, 6) for take in "AB"]
    for folder in ("audio", "meta"):
        (tmp_path / "ESC-50" / folder).mkdir(parents=True)
    for name in names:
        (tmp_path / "ESC-50/audio" / name).write_bytes(b"x")
    rows = "".join(f"{name},{name[0]},rain\n" for name in names)
    (tmp_path / "ESC-50/meta/esc50.csv").write_text(f"filename,fold,category\n{rows}")
    return tmp_path


def corpora(root: Path, speech: str, speakers: int, utterances: int, noise: int, clips: int) -> Any:
    """Data of which there are names alone."""

    def store(folder: str, groups: int, number: int) -> ClipStore:
        clips = [Clip(root / folder / f"{i}.flac", str(i), str(i % groups)) for i in range(number)]
        return ClipStore(clips, "speech", 16000, 0.0)

    mixtures = SimpleNamespace(speech=store(speech, speakers, utterances), noise=store("ESC-50", noise, clips))
    return SimpleNamespace(
        data_root=root,
        speech="auto",
        mixtures={"train": mixtures},
        n_items={"val": 256, "test": 500},
        test_names=["mixed"],
    )


VCTK = "VCTK-Corpus-0.92/wav48_silence_trimmed"


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ((VCTK, 110, 44_455, 50, 2000), "VCTK and ESC-50"),
        ((VCTK, 108, 43_800, 50, 2000), "VCTK and ESC-50"),  # a copy without p280 and p315
        ((VCTK, 110, 4400, 50, 2000), "VCTK-Corpus-0.92 and 50 of 50 ESC-50 classes"),
        ((VCTK, 10, 44_455, 50, 2000), "VCTK-Corpus-0.92 and 50 of 50 ESC-50 classes"),
        ((VCTK, 110, 44_455, 10, 400), "VCTK-Corpus-0.92 and 10 of 50 ESC-50 classes"),
        (("LibriSpeech", 251, 44_455, 50, 2000), "LibriSpeech and 50 of 50 ESC-50 classes"),
    ],
)
def test_data_are_called_by_the_published_name_where_they_are_the_published_corpora(
    tmp_path: Path, found: tuple[str, int, int, int, int], name: str
) -> None:
    data = corpora(tmp_path / "here", *found)
    assert is_published(data) == (name == PUBLISHED_DATA)
    counts = f"train {found[2]} utterances {found[4]} clips; tests mixed"
    assert data_name(data) == f"{name}: {counts}"


def test_published_results_are_of_the_paper_and_its_count() -> None:
    published = {p.name.split(" (")[0]: p for p in reversed(read_published(PUBLISHED))}
    assert {p.dataset for p in published.values()} == {PUBLISHED_DATA}
    for network, flops in (("CRNNVAD", 2_249_961), ("TrVAD", 19_573_904)):
        system = next(s for s in all_systems() if s.name in ("full", "TrVAD, full") and s.network == network)
        # The records' own column for it, so that the two may stand on one axis.
        assert published_flops(system.module(lr=1e-3).complexity) == published[network].flops_per_second == flops
    assert "recurrent layers out" in published["CRNNVAD"].note


def test_committed_runs_keep_the_name_of_their_data() -> None:
    known = read_results(PUBLISHED.parent / "results.jsonl")
    assert {r["dataset"].split(":")[0] for r in known} == {"LibriSpeech and 10 of 50 ESC-50 classes"}


@pytest.mark.parametrize("share", BUDGETS.values())
def test_uniform_networks_cost_the_budget_and_keep_proportions(share: float) -> None:
    sizes, cost = uniform_sizes(share), full_complexity()
    narrow = {"mel": sizes["n_mels"], "conv": sizes["channels"]}
    flops = cost.flops_at({**narrow, "gru-l0": sizes["hidden_size"], "gru-l1": sizes["hidden_size"]})
    budget = cost.fixed_flops() + share * cost.learnable_flops()
    assert flops == pytest.approx(budget, rel=0.02)
    assert sizes["n_mels"] == sizes["channels"] == round(80 * sizes["hidden_size"] / 256)
    CRNNVAD(**sizes)


@pytest.mark.parametrize("share", BUDGETS.values())
def test_uniform_transformers_cost_the_budget(share: float) -> None:
    sizes, cost = uniform_sizes(share, "TrVAD"), full_complexity("TrVAD")
    plain = dynamize(TrVAD(**sizes), torch.zeros(1, 16000), duration_s=1.0).complexity
    budget = cost.fixed_flops() + share * cost.learnable_flops()
    assert plain.flops_full_size() == pytest.approx(budget, rel=0.02)


def test_bands_alone_are_learned_as_published_in_both_networks() -> None:
    # arXiv 2601.13704: parameters and MFLOPs of 80 bands, and of 40 and 20. A learned size of CRNNVAD counts one more
    # band than is said, and its λ as a parameter.
    published = {
        "CRNNVAD": {80: (673_873, 2.249961), 41: (664_513, 1.182921), 21: (659_713, 0.635721)},
        "TrVAD": {80: (138_082, 19.573904), 40: (35_442, 5.054624), 20: (9_322, 1.344584)},
    }
    for network, counts in published.items():
        systems = [s for s in all_systems() if s.network == network and not s.settles and not s.control]
        assert [s.lam_min for s in systems] == list(LAM_MINS)
        assert all(s.options == PAPER[network] and not s.callbacks() for s in systems)
        module = systems[-1].module(lr=1e-3)
        assert list(module.widths) == ["mel"]
        for bands, (parameters, mflops) in counts.items():
            module.widths["mel"].freeze(bands)
            assert module.complexity.parameters_now() == parameters
            assert published_flops(module.complexity) == pytest.approx(1e6 * mflops, abs=0.5)


def test_speed_is_measured_on_the_network_that_a_run_ended_with() -> None:
    systems = {s.name: s for s in all_systems()}
    for name, bands in (("TrVAD, paper, bands, λ ≥ 0.25", 20), ("paper, bands, β 0.5", 20)):
        network = network_of({"widths": {"mel": [bands, 80]}}, systems[name])
        assert network.mel.n_mels == bands
        assert sum(p.numel() for p in network.parameters()) == {"T": 9_322, "p": 659_473}[name[0]]


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


def test_rows_of_the_second_network_follow_the_first() -> None:
    records = [
        record("TrVAD, full", 0, 0.1, network="TrVAD", flops_per_second=9e6),
        record("paper, bands, β 0.5", 0, 0.1, settles=False),
        record("TrVAD, learned 25 %", 0, 0.1, network="TrVAD"),
        record("full", 0, 0.1),
        record("shrink only 25 %", 0, 0.1, control=True),
    ]
    names = [row["system"] for row in rows(records, {})]
    assert names == ["full", "paper, bands, β 0.5", "TrVAD, full", "TrVAD, learned 25 %", "shrink only 25 %"]
    assert [family_of(name) for name in names] == ["full", "paper", "TrVAD, full", "TrVAD, learned", "shrink only"]
    assert family_of("TrVAD, paper, bands, λ ≥ 0.5") == "TrVAD, paper"


def test_the_command_line_names_the_data_and_what_is_tried(vad_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = STUDY.parse(["--data_root", str(vad_root), "--only", "full", "TrVAD, full", "--eval_items", "6"])
    assert [s.network for s in args.systems] == ["CRNNVAD", "TrVAD"]
    assert data_module(args).n_items == {"train": 3200, "val": 6, "test": 6}
    counts = "train 8 utterances 6 clips, val 2 utterances 2 clips, test 2 utterances 2 clips; tests mixed"
    assert (
        STUDY.dataset(args)
        == f"LibriSpeech and 1 of 50 ESC-50 classes: {counts}; 6 and 6 mixtures to validate and to test on"
    )
    args = STUDY.parse(["--data_root", str(vad_root)])
    assert STUDY.dataset(args) == f"LibriSpeech and 1 of 50 ESC-50 classes: {counts}"
    with pytest.raises(DatasetError, match=r"no VCTK-Corpus-0\.92 folder in it"):
        STUDY.dataset(STUDY.parse(["--data_root", str(vad_root), "--speech", "vctk"]))
    with pytest.raises(SystemExit):
        STUDY.parse(["--only", "nothing"])
    assert "no system is called 'nothing'" in capsys.readouterr().err


def test_speed_is_measured_of_the_runs_given_and_written_where_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "DURATION_S", 0.5)
    monkeypatch.setattr(speed, "REPEATS", 1)
    results = tmp_path / "results.jsonl"
    widths = {"mel": [20, 80], "conv": [20, 80], "gru-l0": [64, 256], "gru-l1": [64, 256]}
    for name, kept in (("full", {}), ("learned 25 %", widths)):
        append_result(results, {**record(name, 0, 0.1), "widths": kept})
    speed.main(["--results", str(results), "--out_dir", str(tmp_path)])
    factors = json.loads((tmp_path / "speed.json").read_text())
    assert list(factors) == ["full", "learned 25 %"]
    assert all(0.0 < factor < 1.0 for factor in factors.values())
    assert "learned 25 %" in capsys.readouterr().out


def test_runs_on_other_data_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    for r in (record("full", 0, 0.1), record("full", 0, 0.2, dataset="there"), record("full", 1, 0.1)):
        append_result(tmp_path / "r.jsonl", r)
    write_tables(tmp_path / "r.jsonl", tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert text.index("here") < text.index("there")
    assert "| full | 2 | 10.00 ± 0.00 |" in text
    assert (tmp_path / "results.png").stat().st_size > 1000
    assert len(studies([record("a", 0, 0.1), record("a", 0, 0.1, dataset="b")])) == 2
