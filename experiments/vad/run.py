"""The voice-activity study: every system with every seed, then the table.

``make reproduce-vad DATA_ROOT=…`` on any data root (LibriSpeech or VCTK, ESC-50, and AMI where present). A run that is
in ``results.jsonl`` is not run again, and a run that was killed goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch

from dyn_lightning.data.vad import VADDataModule
from dyn_lightning.report import result_record
from experiments.study import (
    begin_run,
    evaluate,
    finished,
    fit,
    keep_artifact,
    quieten,
    run_jobs,
    slug,
    unknown_names,
)
from experiments.vad.speed import write_speed
from experiments.vad.systems import System, all_systems, full_complexity
from experiments.vad.table import write_tables

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
Job = tuple[System, int, argparse.Namespace]


def train(job: Job) -> dict[str, Any]:
    """Train, choose the checkpoint, test, and write the artifact of one system with one seed."""
    system, seed, args = job
    begin_run(seed, args.jobs)
    folder = Path(args.runs) / f"{slug(system.name)}-{seed}"
    data = VADDataModule(
        args.data_root,
        batch_size=args.batch_size,
        items_per_epoch=args.items_per_epoch,
        train_seed=seed,
        num_workers=args.num_workers,
    )
    module = system.module(args.lr)
    fitted = fit(system, module, data, folder, args.epochs)
    record = result_record(
        module,
        metrics=evaluate(fitted.trainer, module, data, fitted.best),
        config={"system": system.name, **settings(args)},
        seed=seed,
        dataset=data_name(data),
        wall_time_s=fitted.wall_time_s,
    )
    record |= {
        "settles": system.settles,
        "control": system.control,
        "resumed": fitted.resumed,
        "threads": torch.get_num_threads(),
        "flops_per_second_full": full_size_cost(),
        "flops_per_second_published": module.complexity.flops_now("paper") - recurrent_flops(module.complexity),
    }
    if not system.learns and not system.backbone:
        # What the paper's setting, which has no time to settle in, is compared with.
        record["metrics_last"] = evaluate(fitted.trainer, module, data, fitted.last)
    return record | keep_artifact(module, data, fitted.history, folder)


def recurrent_flops(complexity: Any) -> float:
    """FLOPs per second of the recurrent layers in the paper's convention, which its published counts leave out."""
    key = f"{complexity.unit}_paper_after"
    return sum(float(row[key]) for row in complexity.table() if row["kind"] in ("GRU", "LSTM", "StackedRNN"))


def full_size_cost() -> tuple[float, float]:
    """FLOPs/s of CRNNVAD that no size governs, and all of them at full size."""
    complexity = full_complexity()
    return complexity.fixed_flops(), complexity.flops_full_size()


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What must be the same for runs to be compared."""
    return {name: getattr(args, name) for name in ("epochs", "items_per_epoch", "batch_size", "lr")}


def data_name(data: VADDataModule) -> str:
    """What the run was trained and tested on: corpus names and the amount of material."""
    stores = {split: (len(m.speech), len(m.noise)) for split, m in data.mixtures.items()}
    counts = ", ".join(f"{split} {speech} utterances {noise} clips" for split, (speech, noise) in stores.items())
    return f"{Path(data.data_root).name}: {counts}; tests {' '.join(data.test_names)}"


def summary(record: dict[str, Any]) -> str:
    """A finished run in one line."""
    return (
        f"{record['config']['system']:24s} seed {record['seed']}: EER {100 * eer_of(record):.2f} %, "
        f"{record['flops_per_second'] / 1e6:.2f} MFLOPs/s, {record['wall_time_s']:.0f} s"
    )


def main() -> None:
    """Runs what is missing, prints what was found, and writes tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data_root", default=os.environ.get("DATA_ROOT", "data"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--items_per_epoch", type=int, default=3200)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--num_workers", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time")
    parser.add_argument("--only", nargs="*", help="names of systems; all when absent")
    parser.add_argument("--runs", default="runs/vad", help="checkpoints and artifacts")
    parser.add_argument("--results", default=str(RESULTS))
    args = parser.parse_args()
    quieten()
    systems = all_systems()
    if args.only:
        if problem := unknown_names(args.only, [s.name for s in systems]):
            parser.error(problem)
        systems = [s for s in systems if s.name in args.only]
    data = VADDataModule(args.data_root)
    data.setup()
    done = finished(args.results, settings(args), data_name(data))
    order = [(s, seed) for control in (False, True) for seed in args.seeds for s in systems if s.control == control]
    jobs: list[Job] = [(s, seed, args) for s, seed in order if (s.name, seed) not in done]
    print(f"{len(jobs)} runs to do, {len(systems) * len(args.seeds) - len(jobs)} done in {args.results}", flush=True)
    run_jobs(train, jobs, args.results, summary, args.jobs)
    folder = Path(args.results).parent
    write_speed(args.results, folder)
    write_tables(args.results, folder)


def eer_of(record: dict[str, Any]) -> float:
    """EER on the mixed test set, whether or not there was a second one."""
    metrics = record["metrics"]
    return float(metrics.get("test/mixed/eer", metrics.get("test/eer")))


if __name__ == "__main__":
    main()
