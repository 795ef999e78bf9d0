"""The synthetic study: every system with every seed in both readings, then the table and the figure.

``make reproduce-filter-bank``. A run that is in ``results.jsonl`` is not run again.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import ClassVar

import torch

from dyn_lightning.data.synthetic_spectra import Reading
from dyn_lightning.runs import config_hash, read_results
from experiments.command import as_command
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
from experiments.study import Study

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


class FilterBankStudy(Study):
    """A filter bank of 64 outputs for 32 bands, in both readings; a job is (reading, system, seed, schedule)."""

    name = "filter_bank"
    description = __doc__
    seeds: ClassVar = range(10)
    one_core = True
    checkpoints = False
    options: ClassVar = {"steps_per_epoch": (Schedule().steps_per_epoch, "of 28 epochs")}

    def systems(self, args: argparse.Namespace) -> Sequence[System]:
        return SYSTEMS

    def dataset(self, args: argparse.Namespace) -> str:
        return DATASET

    def processes(self) -> int:
        return os.cpu_count() or 1

    def jobs(self, args: argparse.Namespace) -> list[Job]:
        """Ours with all seeds, then the controls with the first three of them."""
        schedule = Schedule(steps_per_epoch=args.steps_per_epoch)
        ours: list[Job] = [(reading, OURS, seed, schedule) for seed in args.seeds for reading in READINGS]
        controls: list[Job] = [
            (reading, system, seed, schedule)
            for seed in args.seeds[:CONTROL_SEEDS]
            for system in SYSTEMS[1:]
            for reading in READINGS
        ]
        return [job for job in [*ours, *controls] if job[1] in args.systems]

    def missing(self, jobs: Sequence[Job], results: str | os.PathLike[str]) -> list[Job]:
        known: list[Record] = read_results(results) if Path(results).is_file() else []
        done = {(r["config_hash"], r["seed"]) for r in known}
        return [job for job in jobs if (config_hash(configuration(job[0], job[1], job[3])), job[2]) not in done]

    def train(self, job: Job) -> Record:
        return run_one(job).record

    def summary(self, record: Record) -> str:
        return summary(record)

    def write_tables(self, results: str | os.PathLike[str], folder: Path) -> None:
        write_tables(results, folder)


STUDY = FilterBankStudy()

if __name__ == "__main__":
    as_command(STUDY.main)
