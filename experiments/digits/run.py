"""The study on images: every system with every seed, then the table and the figure.

``python -m experiments.digits.run``, a few minutes on one core. A run that is in ``results.jsonl`` is not run again.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from dyn_lightning.consolidate import consolidate
from dyn_lightning.runs import result_record
from experiments.command import as_command, results_file
from experiments.digits.data import PARTS, DigitsDataModule
from experiments.digits.systems import System, all_systems, full_complexity
from experiments.digits.table import percent, write_tables
from experiments.study import (
    LR_GROWTH,
    Record,
    begin_run,
    evaluate,
    finished,
    fit,
    quieten,
    run_folder,
    run_jobs,
    unknown_names,
)

SEARCH_SHARE = 0.25
DATASET = "scikit-learn digits: " + ", ".join(f"{name} {b - a}" for name, (a, b) in PARTS.items())
Job = tuple[System, int, argparse.Namespace]


def train(job: Job) -> Record:
    """Train, choose the checkpoint on validation, test, and consolidate one system with one seed."""
    system, seed, args = job
    begin_run(seed, os.cpu_count() or 1)  # one thread: more gain nothing on so small a network
    data = DigitsDataModule(args.batch_size)
    module = system.module(args.lr, args.lr_growth)
    config = {"system": system.name, **settings(args)}
    folder = run_folder(args.runs, config, seed, DATASET)
    fitted = fit(system, module, data, folder, args.epochs, search_share=SEARCH_SHARE, monitor="val/error_rate")
    record = result_record(
        module,
        metrics=evaluate(fitted.trainer, module, data, fitted.best),
        config=config,
        seed=seed,
        dataset=DATASET,
        wall_time_s=fitted.wall_time_s,
        history=fitted.history,
    )
    kept = [module.complexity.sizes_now[name] for name in ("conv1", "conv2")] if module.is_dynamic else system.channels
    record |= {
        "kind": system.kind,
        "channels": list(kept),
        "flops_per_call_full": full_complexity().flops_full_size(),
    }
    if module.is_dynamic:
        _, report = consolidate(module.learned[0], [batch["input"] for batch in data.test_dataloader()])
        record["largest_relative_difference"] = report.largest_relative_difference
    return record


def settings(args: argparse.Namespace) -> dict[str, float]:
    """What must be the same for runs to be compared."""
    return {name: getattr(args, name) for name in ("epochs", "batch_size", "lr", "lr_growth")}


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
    parser.add_argument("--lr_growth", type=float, default=LR_GROWTH, help="exponent by which lr grows with narrowing")
    parser.add_argument("--only", nargs="*", help="names of systems; all when absent")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each on one core")
    parser.add_argument("--runs", default="runs/digits", help="checkpoints")
    parser.add_argument("--results", default=results_file("digits"))
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
    as_command(main)
