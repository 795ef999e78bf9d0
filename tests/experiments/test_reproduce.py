"""The case studies with one command: through everything on full-size corpora (a tenth of VCTK), and without data."""

from __future__ import annotations

import html
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dyn_lightning.artifact import load_artifact
from dyn_lightning.cli.data_check import data_check
from dyn_lightning.data.score_files import ScoreTable, write_scores
from dyn_lightning.runs import append_result, read_results
from experiments import reproduce
from experiments.antispoofing.run import SCORES, score_files
from experiments.antispoofing.table import names, studies
from experiments.reproduce import DRY, PRESETS, STUDIES, absent_data, main, parse, parts_of, write_summary
from experiments.study import run_folder, slug
from experiments.vad.run import PUBLISHED_DATA
from tests.data.asvspoof_tree import make_2019
from tests.experiments.full_size_trees import make_full_size

# Each kind of system of each study; the anti-spoofing network is 5.4 million parameters wide when it begins.
SHARED = ["learned 6.25 %", "uniform 6.25 %"]
BANDS, STACKS = "TrVAD, paper, bands, λ ≥ 0.0625", "paper, all stacks, λ ≥ 0.0625"


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("corpora")
    yield make_full_size(root)
    shutil.rmtree(root)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Studies that would run, with their command lines, in place of running them."""
    found: list[tuple[str, list[str]]] = []
    for name, study in STUDIES.items():
        monkeypatch.setattr(study, "main", lambda arguments, name=name: found.append((name, arguments)))
    return found


def test_made_up_corpus_is_the_published_one_by_its_counts(full_size: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert data_check(["--data_root", str(full_size)]) == 0
    assert "All counts are those of ASVspoof2019 LA." in capsys.readouterr().out


def test_the_full_command_goes_through_everything(
    full_size: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["reproduce.py", "--dry_run"])  # workers of pytest have none
    committed = {path: path.read_bytes() for path in Path(reproduce.__file__).parent.glob("*/results*")}
    stale = tmp_path / "out-dry/vad/results.jsonl"
    stale.parent.mkdir(parents=True)
    stale.write_text("of an earlier try\n")
    arguments = ["--preset", "full", "--data_root", str(full_size), "--results", str(tmp_path / "out")]
    assert main([*arguments, "--dry_run", "--jobs", "1", "--only", "ours", *SHARED, BANDS, STACKS]) == 0
    printed = capsys.readouterr().out
    counts = "train 3520 utterances 1200 clips, val 440 utterances 400 clips"
    assert f"VCTK-Corpus-0.92 and 50 of 50 ESC-50 classes: {counts}" in printed
    assert "ASVspoof2019 LA: train 2580 + 22800, dev 2548 + 22296, eval 7355 + 63882" in printed
    assert "All studies are complete." in printed

    out = tmp_path / "out-dry"
    records = {name: read_results(out / name / "results.jsonl") for name in STUDIES}
    assert [r["config"]["name"] for r in records["filter_bank"]] == ["ours"] * 2  # both readings
    assert [r["config"]["system"] for r in records["vad"]] == [*SHARED, BANDS]
    assert [r["config"]["system"] for r in records["antispoofing"]] == [*SHARED, STACKS]
    spoof, uniform, paper = records["antispoofing"]
    assert uniform["parameters"] < 0.15 * spoof["parameters_before"]
    assert spoof["flops_per_second"] < paper["flops_per_second"] < paper["flops_per_second_full"]
    assert spoof["parameters_before"] == 5_389_666  # 5.4 M, as published
    assert spoof["phase"] == "settle"
    assert spoof["flops_per_second"] <= 0.0625 * spoof["flops_per_second_full"]
    assert {"val/eer", "test/min_tdcf", *(f"test/eer_A{n:02d}" for n in range(7, 20))} <= set(spoof["metrics"])
    assert not spoof["published_corpus"]  # a few of its utterances are not the corpus
    assert not any(r["published_corpus"] for r in records["vad"])
    for learned in (spoof, paper, records["vad"][0]):
        assert learned["history"]["step"][0] == 0
        for name, (_, full) in learned["widths"].items():
            assert learned["history"][f"width/{name}/size"][0] == full
        flops = learned["history"]["complexity/flops_per_second"]
        assert flops[0] > flops[-1]
    assert "history" not in uniform
    for run in ("vad/learned-6.25-0", "vad/TrVAD--paper--bands--λ---0.0625-0", "antispoofing/learned-6.25-0"):
        (folder,) = (out / "runs").glob(f"{run}-*")
        assert (folder / "last.ckpt").is_file()
        network, _ = load_artifact(folder / "artifact")
        assert torch.isfinite(network(torch.randn(2, 16000))).all()
    for name in STUDIES:
        assert (out / name / "results.md").is_file()
        assert (out / name / "results.png").stat().st_size > 1000
    assert "| TrVAD, paper, bands, λ ≥ 0.0625 | 1 |" in (out / "tables.md").read_text()
    page = (out / "report.html").read_text()
    assert "<h1>DRY RUN, no result: " in page
    assert "synthetic spectra" in page
    assert "VCTK-Corpus-0.92 and 50 of 50 ESC-50 classes" in page
    assert "ASVspoof2019 LA" in page
    for name in (f"{name}, seed 0" for name in (SHARED[0], BANDS, STACKS)):
        assert f"{name}: what each learned size kept" in html.unescape(page)
    assert "Detection error trade-off of each score file" in page
    assert all(f"antispoofing/{slug(name)}-0" in page for name in (*SHARED, STACKS))
    assert "Commands that made the runs." in page
    assert "--dry_run" in page
    assert not (tmp_path / "out").exists()
    assert all(path.read_bytes() == content for path, content in committed.items())


def test_absent_data_are_said_first_and_the_others_run(
    tmp_path: Path, calls: list[tuple[str, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    make_2019(tmp_path / "LA", n_samples=2100)
    assert main(["--data_root", str(tmp_path), "--results", str(tmp_path / "out")]) == 1
    assert [name for name, _ in calls] == ["filter_bank", "antispoofing"]
    printed = capsys.readouterr()
    problem = f"{tmp_path}: no VCTK-Corpus-0.92 folder in it. Download VCTK-Corpus-0.92 into it."
    assert printed.out.index(f"vad: CANNOT BE RUN: {problem}") < printed.out.index("== filter_bank")
    assert f"{tmp_path.name}, which is not ASVspoof2019 LA: train 3 + 4" in printed.out
    assert f"vad: NOT COMPLETE: {problem}" in printed.err
    assert "All studies are complete" not in printed.out


def test_a_corpus_with_missing_files_is_not_begun(tmp_path: Path) -> None:
    root = make_2019(tmp_path / "LA", n_samples=2100)
    next((root / "ASVspoof2019_LA_eval/flac").iterdir()).unlink()
    args = parse(["--data_root", str(tmp_path), "--results", str(tmp_path / "out")])
    problem = absent_data(parts_of(args)[-1], PRESETS["full"])
    assert problem is not None
    assert "utterances of ASVspoof2019.LA.cm.eval.trl.txt without a file (1)" in problem


def test_mini_takes_the_small_corpus_and_says_where_it_should_lie(
    tmp_path: Path, calls: list[tuple[str, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--preset", "mini", "--data_root", str(tmp_path), "--results", str(tmp_path / "out")]
    assert main([*arguments, "--only", "uniform 12.5 %"]) == 1
    assert f"antispoofing: CANNOT BE RUN: {tmp_path}/MiniSpoof: no such folder. Put a small corpus there" in (
        capsys.readouterr().out
    )
    make_2019(tmp_path / "MiniSpoof" / "LA", n_samples=2100)
    assert main([*arguments, "--only", "uniform 12.5 %"]) == 0
    printed = capsys.readouterr().out
    assert "MiniSpoof is not ASVspoof2019" in printed
    assert "REDUCED" in printed
    ((name, command),) = calls
    assert name == "antispoofing"
    assert command[-2:] == ["--only", "uniform 12.5 %"]


def test_a_study_that_fails_does_not_keep_the_others(
    tmp_path: Path,
    calls: list[tuple[str, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(arguments: Any) -> None:
        raise OSError("no space left")

    make_2019(tmp_path / "LA", n_samples=2100)
    monkeypatch.setattr(STUDIES["filter_bank"], "main", fail)
    arguments = ["--data_root", str(tmp_path), "--results", str(tmp_path / "out"), "--only", "ours", "uniform 12.5 %"]
    assert main(arguments) == 1
    assert [name for name, _ in calls] == ["antispoofing"]
    printed = capsys.readouterr().err
    assert "filter_bank: NOT COMPLETE: failed: OSError('no space left')" in printed
    assert "Traceback" in printed


def test_presets_name_systems_that_there_are() -> None:
    found = {preset: {p.name: p for p in parts_of(parse(["--preset", preset]))} for preset in PRESETS}
    assert {name: len(part.systems) for name, part in found["full"].items()} == {
        "filter_bank": 5,
        "vad": 21,
        "antispoofing": 29,
    }
    assert {name: len(part.systems) for name, part in found["mini"].items()} == {
        "filter_bank": 5,
        "vad": 18,  # all but the controls
        "antispoofing": 11,
    }
    args = STUDIES["vad"].parse(found["mini"]["vad"].arguments)
    assert (args.seeds, args.epochs * args.items_per_epoch // args.batch_size) == ([0], 800)
    assert STUDIES["vad"].parse(found["full"]["vad"].arguments).speech == "vctk"
    assert STUDIES["antispoofing"].parse(found["full"]["antispoofing"].arguments).settings.epochs == 24


def test_a_dry_run_writes_into_folders_of_its_own_by_settings_of_its_own() -> None:
    real, dry = parse([]), parse(["--dry_run"])
    assert (str(real.results), str(real.runs)) == ("runs/reproduce/full", "runs/reproduce/full/runs")
    assert (str(dry.results), str(dry.runs)) == ("runs/reproduce/full-dry", "runs/reproduce/full-dry/runs")
    assert str(parse(["--dry_run", "--runs", "/scratch/x"]).runs) == "/scratch/x-dry"
    for part in parts_of(dry):
        args = STUDIES[part.name].parse(part.arguments)
        assert "full-dry" in args.results
        assert part.arguments[: -len(DRY[part.name])] != part.arguments
        assert args.seeds in (1, [0])


def test_unknown_systems_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--only", "ours", "theirs"])
    assert "no system is called 'theirs'; there are: 'ours', 'fixed 32'" in capsys.readouterr().err


def test_one_page_and_one_file_of_tables_for_all_studies(tmp_path: Path) -> None:
    assert write_summary(tmp_path, tmp_path / "runs", "Title", "Note.") is None
    experiments = Path(reproduce.__file__).parent
    for name in STUDIES:
        (tmp_path / name).mkdir()
        for file in ("results.jsonl", "results.md"):
            shutil.copy(experiments / name / file, tmp_path / name / file)
    page = write_summary(tmp_path, tmp_path / "runs", PRESETS["mini"].title, PRESETS["mini"].note)
    assert page == tmp_path / "report.html"
    assert "REDUCED" in page.read_text()
    assert "learned 25 %, seed 0: what each learned size kept" in page.read_text()
    assert "Detection error" not in page.read_text()
    text = (tmp_path / "tables.md").read_text()
    assert text.index("REDUCED") < text.index("# filter_bank") < text.index("# vad") < text.index("# antispoofing")
    assert "MiniSpoof is not ASVspoof2019" in text
    assert "| learned 25 % | 3 | 6.85 ± 0.26 |" in text


def test_the_page_has_histories_and_detection_errors_of_the_runs(tmp_path: Path) -> None:
    results, runs = tmp_path / "antispoofing/results.jsonl", tmp_path / "elsewhere"
    table = ScoreTable(
        list("abcd"), ["-", "-", "A07", "A08"], ["bonafide"] * 2 + ["spoof"] * 2, torch.randn(4).double()
    )
    known = read_results(Path(reproduce.__file__).parent / "antispoofing/results.jsonl")
    wanted = names(next(iter(studies(known).values())))
    for record in known:
        steps = {"step": [0, 10], "width/a/size": [8, 4], "complexity/flops_per_second": [2e6, 1e6]}
        append_result(results, record | ({"history": steps} if record["widths"] else {}))
        if (record["config"]["system"], record["seed"]) != ("full", 0):  # of which the second seed is shown then
            folder = run_folder(runs / "antispoofing", record["config"], record["seed"], record["dataset"])
            write_scores(folder / SCORES, table)
    found = [path.parent.name[:-13] for path in score_files(results, runs / "antispoofing")]
    assert found == ["full-1", *(f"{slug(name)}-0" for name in wanted[1:])]
    page = write_summary(tmp_path, runs, "Title", "Note.")
    assert page is not None
    text = page.read_text()
    assert "learned 25 %, seed 0: what each learned size kept and what the network cost" in text
    assert "Detection error trade-off of score files" in text
    assert "antispoofing/full-1" in text


@pytest.mark.parametrize(
    ("dataset", "whole", "crosses"),
    [(PUBLISHED_DATA, True, True), (PUBLISHED_DATA, False, False), ("data", True, False)],
)
def test_published_points_lie_over_both_corpora_where_they_are_those(
    tmp_path: Path, dataset: str, whole: bool, crosses: bool
) -> None:
    known = read_results(Path(reproduce.__file__).parent / "vad/results.jsonl")
    for record in known:
        append_result(
            tmp_path / "vad/results.jsonl", record | {"dataset": f"{dataset}: train 3", "published_corpus": whole}
        )
    page = write_summary(tmp_path, tmp_path / "runs", "Title", "Note.")
    assert page is not None
    assert ("MFLOPs per second of audio, as published" in page.read_text()) == crosses
    assert ("The published FLOPs leave recurrent layers out" in page.read_text()) == crosses
