"""The synthetic study: every system with every seed in both readings, then the table and the figure.

``make reproduce-filter-bank``. A run that is in ``results.jsonl`` is not run again.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import torch

from dyn_lightning.data.synthetic_spectra import Reading
from dyn_lightning.runs import append_result, config_hash, read_results
from experiments.command import as_command, results_file
from experiments.filter_bank.study import (
    DATASET,
    FIXED,
    OURS,
    READINGS,
    Outcome,
    Schedule,
    System,
    configuration,
    paper,
    train,
)
from experiments.filter_bank.table import Record, write_tables
from experiments.study import unknown_names

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
BETAS = (0.1, 0.5, 1.0)
CONTROL_SEEDS = 3
SYSTEMS = (OURS, FIXED, *map(paper, BETAS))

Job = tuple[Reading, System, int, Schedule]


def run_one(job: Job) -> Outcome:
    """One run in a process of its own, on one core."""
    torch.set_num_threads(1)
    return train(*job)


def run_and_keep(job: Job, results: str) -> str:
    """One run; its line is appended as soon as it is there. Returns what to print."""
    outcome = run_one(job)
    append_result(results, outcome.record)
    return summary(outcome.record)


def summary(record: Record) -> str:
    """A finished run in one line."""
    return (
        f"{record['config']['reading']:8s} {record['config']['name']:24s} seed {record['seed']}: "
        f"K {record['kept']:2d} of 64, relative L1 {record['metrics']['relative_l1']:.4f}, "
        f"{record['wall_time_s']:.0f} s"
    )


def worker_pool(processes: int) -> ProcessPoolExecutor:
    """Fresh processes, which inherit no threads."""
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"))


def missing(jobs: Iterable[Job], results: str | os.PathLike[str]) -> list[Job]:
    """Those jobs whose configuration and seed are not in the results."""
    known: list[Record] = read_results(results) if Path(results).is_file() else []
    done = {(r["config_hash"], r["seed"]) for r in known}
    return [job for job in jobs if (config_hash(configuration(job[0], job[1], job[3])), job[2]) not in done]


def run_missing(jobs: Iterable[Job], results: str | os.PathLike[str], processes: int) -> None:
    """Run what is not in the results yet, and append it there, a line each."""
    left = missing(jobs, results)
    print(f"{len(left)} runs to do", flush=True)
    with worker_pool(processes) as pool:
        for line in pool.map(run_and_keep, left, repeat(str(results))):
            print(line, flush=True)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=list(range(10)), help="of ours; controls have the first 3"
    )
    parser.add_argument("--steps_per_epoch", type=int, default=Schedule().steps_per_epoch, help="of 28 epochs")
    parser.add_argument("--only", nargs="*", help="names of systems; all when absent")
    parser.add_argument("--jobs", "--processes", type=int, default=os.cpu_count() or 1, help="runs at a time")
    parser.add_argument("--results", default=results_file("filter_bank"))
    args = parser.parse_args(arguments)
    if args.only and (problem := unknown_names(args.only, [s.name for s in SYSTEMS])):
        parser.error(problem)
    args.systems = [s for s in SYSTEMS if not args.only or s.name in args.only]
    return args


def check_data(args: argparse.Namespace) -> str:
    """What runs would be trained and tested on: it is made, so that it is always there."""
    return DATASET


def main(arguments: list[str] | None = None) -> None:
    """Runs what is missing, and writes the table and the figure."""
    args = parse(arguments)
    schedule = Schedule(steps_per_epoch=args.steps_per_epoch)
    ours, controls = args.seeds, args.seeds[:CONTROL_SEEDS]
    jobs: list[Job] = [(reading, OURS, seed, schedule) for seed in ours for reading in READINGS]
    for seed in controls:
        for system in SYSTEMS[1:]:
            jobs += [(reading, system, seed, schedule) for reading in READINGS]
    run_missing([job for job in jobs if job[1] in args.systems], args.results, args.jobs)
    write_tables(args.results, Path(args.results).parent)


if __name__ == "__main__":
    as_command(main)
