"""Evaluation of scores: the same figures as the metrics', and errors that say what to give."""

import io
import json
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from dyn_lightning.data.audio import DatasetError
from dyn_lightning.data.score_files import ScoreTable
from dyn_lightning.inference.scoring import evaluate_scores, print_scores, read_asv_rates, write_evaluation
from dyn_lightning.metrics.eer import eer
from dyn_lightning.metrics.tdcf import min_tdcf

RATES = (0.02, 0.03, 0.4)


def table(count: int = 60) -> ScoreTable:
    """Bona fide speech, an easy and a hard attack in turn, by four speakers."""
    systems = [("-", "A01", "A02")[i % 3] for i in range(count)]
    shift = torch.tensor([{"-": 2.0, "A01": -1.0, "A02": 1.0}[system] for system in systems])
    scores = shift + torch.randn(count, generator=torch.Generator().manual_seed(0))
    keys = ["bonafide" if system == "-" else "spoof" for system in systems]
    return ScoreTable(
        [f"U{i}" for i in range(count)], systems, keys, scores.double(), [f"s{i % 4}" for i in range(count)]
    )


def test_figures_are_those_of_the_metrics():
    given = table()
    found = evaluate_scores(given, RATES, n_resamples=50)
    rate, threshold = eer(given.scores, given.targets, convention="asvspoof2019")
    assert (found["eer"], found["threshold"]) == (rate, threshold)
    assert found["min_tdcf"] == min_tdcf(given.scores, given.targets, RATES)
    assert (found["n_bonafide"], found["n_spoof"]) == (20, 40)
    assert list(found["systems"]) == ["A01", "A02"]
    for system, values in found["systems"].items():
        chosen = torch.tensor([s in ("-", system) for s in given.systems])
        assert values["eer"] == eer(given.scores[chosen], given.targets[chosen], convention="asvspoof2019")[0]
        assert values["n_spoof"] == 20
        assert values["eer_interval"][0] <= values["eer"] <= values["eer_interval"][1]
    assert found["eer_interval"][0] < found["eer"] < found["eer_interval"][1]
    assert found == evaluate_scores(given, RATES, n_resamples=50)
    assert "min_tdcf" not in evaluate_scores(given, n_resamples=5)


def test_speakers_are_resampled_on_demand():
    found = evaluate_scores(table(), by_speaker=True, n_resamples=50)
    assert found["bootstrap"]["resampled"] == "speakers"
    assert found["eer_interval"] != evaluate_scores(table(), n_resamples=50)["eer_interval"]
    with pytest.raises(DatasetError, match="give the protocol"):
        evaluate_scores(replace(table(), speakers=None), by_speaker=True)


def test_spoofs_of_an_unknown_system_count_in_all_alone():
    given = table()
    unknown = replace(given, systems=["-"] * 60)
    found = evaluate_scores(unknown, n_resamples=5)
    assert found["systems"] == {}
    assert found["eer"] == evaluate_scores(given, n_resamples=5)["eer"]


def test_unknown_keys_and_a_lone_class_are_named():
    given = table()
    with pytest.raises(DatasetError, match="60 utterances without a key"):
        evaluate_scores(replace(given, keys=["-"] * 60))
    with pytest.raises(DatasetError, match="no spoofed"):
        evaluate_scores(replace(given, keys=["bonafide"] * 60))
    with pytest.raises(DatasetError, match="no bona fide"):
        evaluate_scores(replace(given, keys=["spoof"] * 60))


def test_asv_scores_must_be_of_the_same_attacks(tmp_path):
    path = tmp_path / "asv.txt"
    lines = [
        "bonafide target 2",
        "bonafide target 3",
        "bonafide nontarget -1",
        "bonafide nontarget -3",
        "A01 spoof 2.5",
        "A02 spoof -2",
    ]
    path.write_text("\n".join(lines))
    assert read_asv_rates(path, table()) == (0.5, 0.0, 0.5)
    path.write_text("\n".join([*lines, "A03 spoof 1"]))
    with pytest.raises(DatasetError, match="A03"):
        read_asv_rates(path, table())
    path.write_text("\n".join([*lines, "bonafide target", "A01 spoof x"]))
    with pytest.raises(DatasetError, match="line 7, line 8"):
        read_asv_rates(path, table())
    with pytest.raises(DatasetError, match="attacks that it must be of are unknown"):
        read_asv_rates(path, replace(table(), systems=["-"] * 60))
    with pytest.raises(DatasetError, match="no such file"):
        read_asv_rates(tmp_path / "absent.txt", table())


def test_what_is_printed_and_written(tmp_path):
    given = table()
    found = evaluate_scores(given, RATES, n_resamples=20)
    console = Console(width=100, record=True, file=io.StringIO())
    print_scores(found, console)
    text = console.export_text()
    low, high = found["eer_interval"]
    assert f"EER {100 * found['eer']:.3f} %  [{100 * low:.3f}, {100 * high:.3f}]" in text
    assert f"min t-DCF {found['min_tdcf']:.4f}" in text
    assert f"{100 * found['systems']['A02']['eer']:.3f}" in text
    written = write_evaluation(given, found, tmp_path / "out")
    assert sorted(p.name for p in written) == ["det.png", "eer_by_system.png", "scores.json"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["det.png", "eer_by_system.png", "scores.json"]
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == json.loads(json.dumps(found))
