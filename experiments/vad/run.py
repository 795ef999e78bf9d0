"""The voice-activity study: every system with every seed, then the table.

``make reproduce-vad DATA_ROOT=…`` on any data root (LibriSpeech or VCTK, ESC-50, and AMI where present). A run that is
in ``results.jsonl`` is not run again, and a run that was killed goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.data.corpora import SPEECH, Clip
from dyn_lightning.data.corpora.vctk import FOLDER as VCTK_FOLDER
from dyn_lightning.data.vad import VADDataModule
from dyn_lightning.runs import result_record
from experiments.command import as_command, results_file
from experiments.study import (
    LR_GROWTH,
    begin_run,
    evaluate,
    finished,
    fit,
    keep_artifact,
    quieten,
    run_folder,
    run_jobs,
    runs_at_a_time,
    unknown_names,
)
from experiments.vad.speed import write_speed
from experiments.vad.systems import Network, System, all_systems, full_complexity
from experiments.vad.table import write_tables

HERE = Path(__file__).parent
EVAL_ITEMS = (256, 500)
"""Mixtures to validate and to test on."""
PUBLISHED_DATA = "VCTK and ESC-50"
"""Name of the published results' data, in records and in ``published.csv``."""
VCTK_SPEAKERS, VCTK_UTTERANCES = 108, 40_000
"""The least that is the whole of VCTK 0.92, of which many copies lack p280 and p315."""
ESC50_CLASSES, ESC50_CLIPS = 50, 2000
Job = tuple[System, int, argparse.Namespace]


def train(job: Job) -> dict[str, Any]:
    """Train, choose the checkpoint, test, and write the artifact of one system with one seed."""
    system, seed, args = job
    begin_run(seed, args.jobs)
    data = data_module(args, seed)
    module = system.module(args.lr, args.lr_growth)
    data.setup()
    config, dataset = {"system": system.name, **settings(args)}, data_name(data)
    folder = run_folder(args.runs, config, seed, dataset)
    fitted = fit(system, module, data, folder, args.epochs)
    record = result_record(
        module,
        metrics=evaluate(fitted.trainer, module, data, fitted.best),
        config=config,
        seed=seed,
        dataset=dataset,
        wall_time_s=fitted.wall_time_s,
        history=fitted.history,
    )
    record |= {
        "published_corpus": args.eval_items is None and is_published(data),
        "network": system.network,
        "settles": system.settles,
        "control": system.control,
        "resumed": fitted.resumed,
        "flops_per_second_full": full_size_cost(system.network),
        "flops_per_second_published": published_flops(module.complexity),
    }
    if not system.learns and not system.backbone:
        # What the paper's setting, which has no time to settle in, is compared with.
        record["metrics_last"] = evaluate(fitted.trainer, module, data, fitted.last)
    return record | keep_artifact(module, data, fitted.history, folder)


def data_module(args: argparse.Namespace, seed: int = 0) -> VADDataModule:
    """The data of a run."""
    val_items, test_items = EVAL_ITEMS if args.eval_items is None else (args.eval_items, args.eval_items)
    return VADDataModule(
        args.data_root,
        batch_size=args.batch_size,
        items_per_epoch=args.items_per_epoch,
        val_items=val_items,
        test_items=test_items,
        speech=args.speech,
        train_seed=seed,
        num_workers=args.num_workers,
    )


def published_flops(complexity: Complexity) -> float:
    """FLOPs per second as the paper's tables count them: recurrent layers left out, the products of attention in."""
    found = complexity.flops_now("paper")
    for row in complexity.table():
        full, paper = (float(row[f"{complexity.unit}{which}_after"]) for which in ("", "_paper"))
        if row["kind"] in ("GRU", "LSTM", "StackedRNN"):
            found -= paper
        elif row["kind"] == "matmul":
            found += full - paper
    return found


def full_size_cost(network: Network) -> tuple[float, float]:
    """FLOPs/s of a network that no size governs, and all of them at full size."""
    complexity = full_complexity(network)
    return complexity.fixed_flops(), complexity.flops_full_size()


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What must be the same for runs to be compared."""
    return {name: getattr(args, name) for name in ("epochs", "items_per_epoch", "batch_size", "lr", "lr_growth")}


def is_published(data: VADDataModule) -> bool:
    """Whether speech and noise are all of VCTK and ESC-50, by where they lie and by their counts."""
    speech, _, classes = _material(data)
    n_clips = sum(len(mixtures.noise) for mixtures in data.mixtures.values())
    return (
        all(clip.path.is_relative_to(data.data_root / VCTK_FOLDER) for clip in speech)
        and len(speech) >= VCTK_UTTERANCES
        and len({clip.group for clip in speech}) >= VCTK_SPEAKERS
        and (classes, n_clips) == (ESC50_CLASSES, ESC50_CLIPS)
    )


def _material(data: VADDataModule) -> tuple[list[Clip], str, int]:
    """All utterances, the folder of their corpus, and the number of classes of noise."""
    speech = [clip for mixtures in data.mixtures.values() for clip in mixtures.speech.clips]
    classes = {clip.group for mixtures in data.mixtures.values() for clip in mixtures.noise.clips}
    return speech, speech[0].path.relative_to(data.data_root).parts[0], len(classes)


def data_name(data: VADDataModule) -> str:
    """What the run was trained and tested on: the corpora, wherever they lie, and the amount of material."""
    stores = {split: (len(m.speech), len(m.noise)) for split, m in data.mixtures.items()}
    counts = ", ".join(f"{split} {speech} utterances {noise} clips" for split, (speech, noise) in stores.items())
    _, speech_name, classes = _material(data)
    corpora = PUBLISHED_DATA if is_published(data) else f"{speech_name} and {classes} of {ESC50_CLASSES} ESC-50 classes"
    items = data.n_items["val"], data.n_items["test"]
    tried = "" if items == EVAL_ITEMS else f"; {items[0]} and {items[1]} mixtures to validate and to test on"
    return f"{corpora}: {counts}; tests {' '.join(data.test_names)}{tried}"


def check_data(args: argparse.Namespace) -> str:
    """What runs would be trained and tested on.

    Raises:
        DatasetError: names the folder that is missing or incomplete, and the mend.
    """
    data = data_module(args)
    data.setup()
    return data_name(data)


def summary(record: dict[str, Any]) -> str:
    """A finished run in one line."""
    return (
        f"{record['config']['system']:24s} seed {record['seed']}: EER {100 * eer_of(record):.2f} %, "
        f"{record['flops_per_second'] / 1e6:.2f} MFLOPs/s, {record['wall_time_s']:.0f} s"
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data_root", default=os.environ.get("DATA_ROOT", "data"))
    parser.add_argument("--speech", choices=("auto", *SPEECH), default="auto", help="which corpus of speech")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--items_per_epoch", type=int, default=3200)
    parser.add_argument("--eval_items", type=int, help="mixtures to validate and to test on; 256 and 500 when absent")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-3, help="at full size")
    parser.add_argument("--lr_growth", type=float, default=LR_GROWTH, help="exponent of what a network is narrower by")
    parser.add_argument("--num_workers", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=runs_at_a_time(), help="runs at a time: on a GPU 2")
    parser.add_argument("--only", nargs="*", help="names of systems; all when absent")
    parser.add_argument("--runs", default="runs/vad", help="checkpoints and artifacts")
    parser.add_argument("--results", default=results_file("vad"))
    args = parser.parse_args(arguments)
    args.systems = all_systems()
    if args.only:
        if problem := unknown_names(args.only, [s.name for s in args.systems]):
            parser.error(problem)
        args.systems = [s for s in args.systems if s.name in args.only]
    return args


def main(arguments: list[str] | None = None) -> None:
    """Runs what is missing, prints what was found, and writes tables and figures."""
    quieten()
    args = parse(arguments)
    done = finished(args.results, settings(args), check_data(args))
    order = [
        (s, seed) for control in (False, True) for seed in args.seeds for s in args.systems if s.control == control
    ]
    jobs: list[Job] = [(s, seed, args) for s, seed in order if (s.name, seed) not in done]
    print(f"{len(jobs)} runs to do, {len(order) - len(jobs)} done in {args.results}", flush=True)
    run_jobs(train, jobs, args.results, summary, args.jobs)
    folder = Path(args.results).parent
    write_speed(args.results, folder)
    write_tables(args.results, folder)


def eer_of(record: dict[str, Any]) -> float:
    """EER on the mixed test set, whether or not there was a second one."""
    metrics = record["metrics"]
    return float(metrics.get("test/mixed/eer", metrics.get("test/eer")))


if __name__ == "__main__":
    as_command(main)
