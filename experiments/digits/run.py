"""The study on images: every system with every seed, then the table and the figure.

``python -m experiments.digits.run``, a few minutes on one core. A run that is in ``results.jsonl`` is not run again.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import lightning

from dyn_lightning.callbacks import LambdaClamp, PhaseSwitch, Reorder, WidthsCheckpoint
from dyn_lightning.consolidate import consolidate
from dyn_lightning.module import DynamicModule
from dyn_lightning.report import result_record
from experiments.digits.data import PARTS, DigitsDataModule
from experiments.digits.systems import System, all_systems, full_complexity
from experiments.digits.table import percent, write_tables
from experiments.study import (
    WARMUP_SHARE,
    Record,
    begin_run,
    evaluate,
    finished,
    quieten,
    run_jobs,
    slug,
    unknown_names,
)

RESULTS = Path(__file__).parent / "results.jsonl"
SEARCH_SHARE = 0.25
DATASET = "scikit-learn digits: " + ", ".join(f"{name} {b - a}" for name, (a, b) in PARTS.items())
Job = tuple[System, int, argparse.Namespace]


def train(job: Job) -> Record:
    """Train, choose the checkpoint on validation, test, and consolidate one system with one seed."""
    system, seed, args = job
    begin_run(seed, os.cpu_count() or 1)  # one thread: more gain nothing on so small a network
    data = DigitsDataModule(args.batch_size)
    module = system.module(args.lr)
    trainer, best, wall_time_s = fit(system, module, data, Path(args.runs) / f"{slug(system.name)}-{seed}", args.epochs)
    record = result_record(
        module,
        metrics=evaluate(trainer, module, data, best),
        config={"system": system.name, **settings(args)},
        seed=seed,
        dataset=DATASET,
        wall_time_s=wall_time_s,
    )
    kept = [module.complexity.sizes_now[name] for name in ("conv1", "conv2")] if module.is_dynamic else system.channels
    record |= {
        "kind": system.kind,
        "channels": list(kept),
        "flops_per_call_full": full_complexity().flops_full_size(),
    }
    if module.is_dynamic:
        _, report = consolidate(module.network, [batch["input"] for batch in data.test_dataloader()])
        record["largest_relative_difference"] = report.largest_relative_difference
    return record


def fit(
    system: System, module: DynamicModule, data: DigitsDataModule, folder: Path, epochs: int
) -> tuple[lightning.Trainer, str, float]:
    """Train through all phases: an eighth of the epochs warms up, a quarter searches, the rest settles.

    Returns:
        The trainer, the path of the checkpoint with the least error on validation, and the seconds that it took.
    """
    checkpoint = WidthsCheckpoint("val/error_rate", dirpath=str(folder))
    warmup, search = (max(1, round(share * epochs)) for share in (WARMUP_SHARE, SEARCH_SHARE))
    callbacks: list[lightning.Callback] = [PhaseSwitch(warmup, search), LambdaClamp(None), checkpoint]
    if system.kind == "learned":
        callbacks.insert(1, Reorder())
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=callbacks,
        gradient_clip_val=5.0,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    start = time.perf_counter()
    trainer.fit(module, data)
    return trainer, checkpoint.best_model_path, time.perf_counter() - start


def settings(args: argparse.Namespace) -> dict[str, float]:
    """What must be the same for runs to be compared."""
    return {name: getattr(args, name) for name in ("epochs", "batch_size", "lr")}


def summary(record: Record) -> str:
    """A finished run in one line."""
    return (
        f"{record['config']['system']:16s} seed {record['seed']}: error on validation "
        f"{percent(record, 'val/error_rate'):.2f} %, {record['flops_per_call'] / 1e3:.1f} kFLOPs, "
        f"{record['wall_time_s']:.0f} s"
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=32)
    parser.add_argument("--batch_size", type=int, default=30)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--only", nargs="*", help="names of systems; all when absent")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each on one core")
    parser.add_argument("--runs", default="runs/digits", help="checkpoints")
    parser.add_argument("--results", default=str(RESULTS))
    args = parser.parse_args(arguments)
    if args.only and (problem := unknown_names(args.only, [s.name for s in all_systems()])):
        parser.error(problem)
    return args


def main(arguments: list[str] | None = None) -> None:
    """Runs what is missing, prints what was found, and writes the table and the figure."""
    args = parse(arguments)
    quieten()
    systems = [s for s in all_systems() if not args.only or s.name in args.only]
    done = finished(args.results, settings(args), DATASET)
    jobs: list[Job] = [(s, seed, args) for seed in args.seeds for s in systems if (s.name, seed) not in done]
    print(f"{len(jobs)} runs to do, {len(systems) * len(args.seeds) - len(jobs)} done in {args.results}", flush=True)
    run_jobs(train, jobs, args.results, summary, args.jobs)
    write_tables(args.results, Path(args.results).parent)


if __name__ == "__main__":
    main()
