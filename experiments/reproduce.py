"""The three case studies of arXiv 2601.13704 with one command, and one report of them.

``make reproduce-paper DATA_ROOT=…`` at full size, ``make reproduce-mini DATA_ROOT=…`` reduced; ``ARGS=--dry_run`` tries
the whole command in minutes. Each study resumes: a run that is in its ``results.jsonl`` is not run again, and one that
was killed goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dyn_lightning.data.audio import DatasetError
from dyn_lightning.files import write_atomically
from dyn_lightning.report.page import write_report
from experiments.antispoofing import run as antispoofing
from experiments.antispoofing.table import PUBLISHED as PUBLISHED_SPOOFING
from experiments.command import as_command
from experiments.filter_bank import run as filter_bank
from experiments.study import Study, runs_at_a_time, unknown_names
from experiments.vad import run as vad
from experiments.vad.table import PUBLISHED as PUBLISHED_VAD

STUDIES: Mapping[str, Study] = {study.name: study for study in (filter_bank.STUDY, vad.STUDY, antispoofing.STUDY)}


@dataclass(frozen=True)
class Preset:
    """How much is run.

    Attributes:
        title: of the report.
        note: what a reader of the report has to know.
        arguments: of each study.
        spoof_folder: of the anti-spoofing corpus, below the data root.
    """

    title: str
    note: str
    arguments: Mapping[str, Sequence[str]]
    spoof_folder: str = "."


_MINI_VAD = [f"{kind} {share} %" for kind in ("learned", "uniform") for share in ("25", "6.25")]
_MINI_SPOOF = [f"{kind} {share} %" for kind in ("learned", "uniform") for share in ("25", "12.5", "6.25")]
_BANDS = [f"paper, bands, λ ≥ {lam_min}" for lam_min in (0.5, 0.125, 0.0625)]
_ALL_STACKS = [f"paper, all stacks, λ ≥ {lam_min}" for lam_min in (0.5, 0.25, 0.125, 0.0625)]
_CRNN = ["full", *_MINI_VAD, "paper, bands, β 0.5", *_BANDS]
_TRANSFORMER = [f"TrVAD, {name}" for name in ("full", *_MINI_VAD, "paper, bands, λ ≥ 0.25", *_BANDS)]

PRESETS: Mapping[str, Preset] = {
    "full": Preset(
        "The case studies of arXiv 2601.13704 at full size",
        "Synthetic filter bank; voice activity detection on VCTK and ESC-50; anti-spoofing on ASVspoof2019 LA. What "
        "the paper leaves open (steps, labels, mixing, optimiser) is this project's choice, see each study's README.",
        {
            "filter_bank": [],
            "vad": ["--speech", "vctk", "--epochs", "32", "--items_per_epoch", "12800"],
            "antispoofing": ["--preset", "full"],
        },
    ),
    "mini": Preset(
        "The case studies of arXiv 2601.13704, REDUCED",
        "Reduced to end within two hours on two cores: one seed (synthetic: three), few steps, small corpora, an "
        "anti-spoofing network of a quarter of the width, and not every system. Nothing here can be put beside the "
        "paper's figures: the speech and noise are not VCTK and ESC-50, and MiniSpoof is not ASVspoof2019, of which it "
        "only has the layout. Differences of single runs are mostly those of seeds.",
        {
            "filter_bank": ["--seeds", "0", "1", "2"],
            "vad": ["--epochs", "8", "--seeds", "0", "--only", *_CRNN, *_TRANSFORMER],
            "antispoofing": ["--preset", "mini", "--only", "full", *_MINI_SPOOF, *_ALL_STACKS],
        },
        spoof_folder="MiniSpoof",
    ),
}

# One or two batches of each system, through all phases: in a run of three epochs, warm-up, search and settling.
DRY: Mapping[str, Sequence[str]] = {
    "filter_bank": ["--seeds", "0", "--steps_per_epoch", "2"],
    "vad": ["--seeds", "0", "--epochs", "3", "--items_per_epoch", "4", "--batch_size", "4", "--eval_items", "4"],
    "antispoofing": ["--seeds", "0", "--epochs", "3", "--batch_size", "8", "--per_system", "1"],
}


@dataclass(frozen=True)
class Part:
    """One study of a reproduction.

    Attributes:
        name: of the study.
        arguments: its command line.
        systems: names of those that are run.
    """

    name: str
    arguments: list[str]
    systems: list[str]


def parts_of(args: argparse.Namespace) -> list[Part]:
    """The studies with their command lines; those of which ``--only`` names no system are left out."""
    preset = PRESETS[args.preset]
    found = []
    for name, study in STUDIES.items():
        arguments = [*preset.arguments[name], *(DRY[name] if args.dry_run else ())]
        arguments += ["--jobs", str(args.jobs), "--results", str(args.results / name / "results.jsonl")]
        if name != "filter_bank":
            root = Path(args.data_root) / (preset.spoof_folder if name == "antispoofing" else ".")
            arguments += ["--data_root", str(root), "--runs", str(args.runs / name)]
            arguments += ["--num_workers", str(args.num_workers)]
        systems = [s.name for s in study.parse(arguments).systems]
        if args.only is not None:
            systems = [s for s in systems if s in args.only]
            arguments += ["--only", *systems]
        if systems:
            found.append(Part(name, arguments, systems))
    return found


def absent_data(part: Part, preset: Preset) -> str | None:
    """Prints what a study would be run on; what to say where that is not there."""
    study = STUDIES[part.name]
    args = study.parse(part.arguments)
    root = Path(getattr(args, "data_root", "."))
    if part.name == "antispoofing" and preset.spoof_folder != "." and not root.is_dir():
        return (
            f"{root}: no such folder. Put a small corpus there, in the layout of ASVspoof2019 LA, or take the preset "
            "full on ASVspoof2019 LA itself."
        )
    try:
        print(f"{part.name}, systems: {len(part.systems)}; data: {study.dataset(args)}", flush=True)
    except DatasetError as error:
        return str(error)
    return None


def run_part(part: Part) -> str | None:
    """Runs a study to its end; what to say where it failed, so that the next one is run all the same."""
    print(f"\n== {part.name}", flush=True)
    try:
        STUDIES[part.name].main(part.arguments)
    except Exception as error:  # whatever it is: the other studies do not depend on it
        traceback.print_exc()
        return f"failed: {error!r}. Mend that and give the same command again: finished runs are kept."
    return None


def write_summary(folder: Path, runs: Path, title: str, note: str) -> Path | None:
    """Writes ``report.html``, its CSV files and ``tables.md`` of all studies that have results; None without any.

    Args:
        folder: of the studies' results.
        runs: folder of the studies' checkpoints and score files.
        title: of the report.
        note: what a reader has to know.
    """
    results = [path for name in STUDIES if (path := folder / name / "results.jsonl").is_file()]
    if not results:
        return None
    tables = [f"# {title}\n{note}\n"]
    for path in results:
        table = path.with_name("results.md")
        if table.is_file():
            tables.append(f"# {path.parent.name}\n{table.read_text(encoding='utf-8')}")
    write_atomically(folder / "tables.md", "\n".join(tables).encode())
    spoofing = folder / "antispoofing/results.jsonl"
    scores = antispoofing.score_files(spoofing, runs / "antispoofing") if spoofing in results else []
    published = [PUBLISHED_SPOOFING, PUBLISHED_VAD]
    page, *_ = write_report([*results, *scores], folder / "report.html", published=published, title=title)
    return page


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; ``results`` and ``runs`` are folders, of their own for a dry run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--preset", choices=list(PRESETS), default="full", help="mini: reduced, for two cores")
    parser.add_argument("--data_root", default=os.environ.get("DATA_ROOT", "data"), help="folder of the corpora")
    parser.add_argument("--dry_run", action="store_true", help="one or two batches of everything, in folders …-dry")
    parser.add_argument("--only", nargs="+", help="names of systems, in all studies that have them; all when absent")
    parser.add_argument("--jobs", type=int, default=runs_at_a_time(), help="runs at a time: on a GPU 2")
    parser.add_argument("--num_workers", type=int, default=0, help="loader processes of each run")
    parser.add_argument("--results", help="folder of results and report; runs/reproduce/PRESET when absent")
    parser.add_argument("--runs", help="folder of checkpoints and artifacts; RESULTS/runs when absent")
    args = parser.parse_args(arguments)
    end = "-dry" if args.dry_run else ""
    results = Path(args.results or f"runs/reproduce/{args.preset}")
    args.results = results.with_name(results.name + end)
    args.runs = args.results / "runs" if args.runs is None else Path(args.runs).with_name(Path(args.runs).name + end)
    if args.only:
        own = PRESETS[args.preset].arguments
        known = dict.fromkeys(s.name for name, study in STUDIES.items() for s in study.parse([*own[name]]).systems)
        if problem := unknown_names(args.only, list(known)):
            parser.error(problem)
    return args


def main(arguments: list[str] | None = None) -> int:
    """Checks all data, runs the studies whose data are there, and writes the report; 1 where a study is missing."""
    args = parse(arguments)
    preset = PRESETS[args.preset]
    title = f"DRY RUN, no result: {preset.title}" if args.dry_run else preset.title
    print(f"{title}\n{preset.note}\n", flush=True)
    if args.dry_run:  # a try that went on from an earlier one would try nothing
        for folder in (folder / name for folder in (args.results, args.runs) for name in STUDIES):
            shutil.rmtree(folder, ignore_errors=True)
    parts = parts_of(args)
    problems = {part.name: problem for part in parts if (problem := absent_data(part, preset))}
    for name, problem in problems.items():
        print(f"{name}: CANNOT BE RUN: {problem}", flush=True)
    for part in parts:
        if part.name in problems:
            continue
        if problem := run_part(part):
            problems[part.name] = problem
        if page := write_summary(args.results, args.runs, title, preset.note):
            print(f"report: {page}; tables: {page.with_name('tables.md')}", flush=True)
    for name, problem in problems.items():
        print(f"{name}: NOT COMPLETE: {problem}", file=sys.stderr, flush=True)
    if not problems:
        print("All studies are complete.")
    return 1 if problems else 0


if __name__ == "__main__":
    as_command(main)
