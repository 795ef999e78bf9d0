"""Commands of ``dyn-lightning`` that need no training configuration: predict, score, sweep, pareto and report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser
from rich.console import Console

from dyn_lightning.artifact.files import ARCHITECTURE, read_architecture
from dyn_lightning.errors import SettingError
from dyn_lightning.inference import Predictions, UtteranceScores, predict_files, score_utterances
from dyn_lightning.report.page import TITLE, write_report
from dyn_lightning.score_files import read_scores
from dyn_lightning.scoring import evaluate_scores, print_scores, read_asv_rates, write_evaluation
from dyn_lightning.sweep.file import read_sweep, runs_of
from dyn_lightning.sweep.pareto import print_front, write_front
from dyn_lightning.sweep.points import mean_over_seeds, read_points
from dyn_lightning.tasks import SpoofDetection


def predict(args: Sequence[str] | None = None) -> int:
    """``dyn-lightning predict``: what an artifact says of audio files. Gives the exit status."""
    parser = ArgumentParser(
        prog="dyn-lightning predict",
        description="Speech segments of audio files or, by an artifact of anti-spoofing, a score for each.",
    )
    parser.add_argument("--artifact", type=str, required=True, help="Folder that consolidation wrote.")
    parser.add_argument("--audio", type=str, nargs="+", required=True, help="Audio files, or folders.")
    parser.add_argument("--out_dir", type=str, default="predictions", help="Where RTTM, CSV and score files go.")
    parser.add_argument("--device", type=str, default="cpu")
    segments = parser.add_argument_group("Voice activity")
    segments.add_argument("--frame_scores", type=Literal["npy", "csv"] | None, default=None)
    segments.add_argument("--threshold", type=float | None, default=None, help="Instead of the artifact's.")
    for name, what in (("speech", "Leave out segments of speech"), ("silence", "Fill pauses")):
        segments.add_argument(f"--min_{name}_s", type=float | None, default=None, help=f"{what} shorter than this.")
    spoofing = parser.add_argument_group("Anti-spoofing")
    spoofing.add_argument(
        "--protocol", type=str | None, default=None, help="Of ASVspoof: what each utterance is, and which to score."
    )
    spoofing.add_argument("--batch_size", type=int | None, default=None, help="Utterances per pass, 32 if not given.")
    options = parser.parse_args(None if args is None else list(args))
    own = {
        False: ("frame_scores", "threshold", "min_speech_s", "min_silence_s"),
        True: ("protocol", "batch_size"),
    }
    metadata = read_architecture(Path(options.artifact) / ARCHITECTURE)["metadata"]
    is_spoofing = metadata.get("task") == SpoofDetection.__name__
    if strange := [name for name in own[not is_spoofing] if options[name] is not None]:
        raise SettingError(
            f"{options.artifact}: an artifact of {metadata.get('task')} has no use for {', '.join(strange)}"
        )
    given: dict[str, Any] = {name: options[name] for name in own[is_spoofing] if options[name] is not None}
    run = score_utterances if is_spoofing else predict_files
    result: Predictions | UtteranceScores = run(
        options.artifact, options.audio, options.out_dir, device=options.device, **given
    )
    print(result.summary())
    return result.exit_code


def score(args: Sequence[str] | None = None) -> int:
    """``dyn-lightning score``: error rates of a countermeasure's score file. Gives the exit status."""
    parser = ArgumentParser(prog="dyn-lightning score", description="Error rates of a countermeasure's scores.")
    parser.add_argument("--scores", type=str, required=True, help="Lines UTTERANCE SYSTEM KEY SCORE.")
    parser.add_argument(
        "--asv_scores", type=str | None, default=None, help="Lines CM_KEY ASV_KEY SCORE: adds min t-DCF."
    )
    parser.add_argument(
        "--protocol",
        type=str | None,
        default=None,
        help="What each utterance is; lines UTTERANCE SCORE are enough then.",
    )
    parser.add_argument("--out_dir", type=str | None, default=None, help="Write a JSON file and figures there.")
    parser.add_argument("--by_speaker", action="store_true", help="Resample speakers: wider, needs the protocol.")
    parser.add_argument("--n_resamples", type=int, default=1000, help="Of the bootstrap.")
    parser.add_argument("--seed", type=int, default=0, help="Of the bootstrap.")
    options = parser.parse_args(None if args is None else list(args))
    table = read_scores(options.scores, options.protocol)
    rates = None if options.asv_scores is None else read_asv_rates(options.asv_scores, table)
    found = evaluate_scores(
        table, rates, by_speaker=options.by_speaker, n_resamples=options.n_resamples, seed=options.seed
    )
    print_scores(found, Console(width=None if sys.stdout.isatty() else 120))
    if options.out_dir is not None:
        for path in write_evaluation(table, found, options.out_dir):
            print(path)
    return 0


def sweep(args: Sequence[str] | None = None) -> int:
    """``dyn-lightning sweep``: the runs of a W&B sweep file on this machine. Gives the exit status."""
    # They need POSIX, which the other commands do not.
    from dyn_lightning.sweep.runner import run_all
    from dyn_lightning.sweep.summary import print_summary, state_of

    parser = ArgumentParser(
        prog="dyn-lightning sweep",
        description="Run a W&B sweep file on this machine, without a server: grid and random search.",
    )
    parser.add_argument("file", type=str, help="The sweep file.")
    parser.add_argument("--jobs", type=int, default=1, help="Runs at a time.")
    parser.add_argument("--runs", type=str | None, default=None, help="Folder; runs/sweeps/NAME if not given.")
    parser.add_argument("--max_runs", type=int | None, default=None, help="At most so many runs.")
    parser.add_argument("--seed", type=int, default=0, help="Of a random search.")
    options = parser.parse_args(None if args is None else list(args))
    for name in ("jobs", "max_runs"):
        if options[name] is not None and options[name] < 1:
            raise SettingError(f"--{name} {options[name]} must be 1 or more")
    console = Console(width=None if sys.stdout.isatty() else 160)
    given = read_sweep(options.file)
    runs = runs_of(given, max_runs=options.max_runs, seed=options.seed)
    if given.early_terminate:
        console.print("early_terminate is for W&B's server: here every run goes to its end")
    folder = options.runs or Path("runs", "sweeps", given.path.stem)
    outcome = run_all(runs, folder, jobs=options.jobs, console=console)
    print_summary(given, runs, outcome, console)
    if outcome.stopped:
        return 130
    return int(any(state_of(run, outcome) == "failed" for run in runs))


def pareto(args: Sequence[str] | None = None) -> int:
    """``dyn-lightning pareto``: runs that no other one beats in both error and FLOPs. Gives the exit status."""
    parser = ArgumentParser(prog="dyn-lightning pareto", description="The Pareto set of finished runs.")
    parser.add_argument(
        "sources",
        type=str,
        nargs="+",
        help="Files of fit --results, folders of dyn-lightning sweep, wandb:ENTITY/PROJECT[/SWEEP].",
    )
    parser.add_argument("--metric", type=str, default="val/eer", help="The less the better.")
    parser.add_argument("--out", type=str, default="front.json", help="The points; a figure goes beside it.")
    parser.add_argument(
        "--dataset", type=str | None, default=None, help="Only runs whose data set has this in its name."
    )
    parser.add_argument("--per_run", action="store_true", help="Each run by itself, instead of means over seeds.")
    options = parser.parse_args(None if args is None else list(args))
    console = Console(width=None if sys.stdout.isatty() else 160)
    points, without = read_points(options.sources, options.metric)
    points = [p for p in points if options.dataset is None or options.dataset in (p.dataset or "")]
    points = points if options.per_run else mean_over_seeds(points)
    if without:
        console.print(f"{without} finished runs have no {options.metric} or no FLOPs", highlight=False)
    print_front(points, options.metric, console)
    for path in write_front(points, options.metric, options.out):
        print(path)
    return 0


def report(args: Sequence[str] | None = None) -> int:
    """``dyn-lightning report``: a page of finished runs, and its tables as CSV. Gives the exit status."""
    parser = ArgumentParser(
        prog="dyn-lightning report",
        description="One HTML page of finished runs, which needs nothing else, and its tables as CSV beside it.",
    )
    parser.add_argument(
        "runs", type=str, nargs="+", help="Files of results (*.jsonl), run folders, artifacts, score files."
    )
    parser.add_argument("--out", type=str, default="report.html", help="The page.")
    parser.add_argument(
        "--published",
        type=str,
        nargs="+",
        default=[],
        help="CSVs of published results, laid over runs on the same data.",
    )
    parser.add_argument(
        "--protocol", type=str | None, default=None, help="Of score files that lack what each utterance is."
    )
    parser.add_argument(
        "--metrics", type=str, nargs="+", default=[], help="Those to show; the EERs of tests if not given."
    )
    parser.add_argument("--title", type=str, default=TITLE)
    options = parser.parse_args(None if args is None else list(args))
    for path in write_report(
        options.runs,
        options.out,
        published=options.published,
        protocol=options.protocol,
        metrics=options.metrics,
        title=options.title,
    ):
        print(path)
    return 0
