"""The study on images: every system with every seed, then the table and the figure.

``python -m experiments.digits.run``, a few minutes on one core. A run that is in ``results.jsonl`` is not run again.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from experiments.command import as_command
from experiments.digits.data import PARTS, DigitsDataModule
from experiments.digits.systems import System, all_systems, full_complexity
from experiments.digits.table import percent, write_tables
from experiments.study import TrainingStudy, run_folder
from experiments.training import LR_GROWTH, Record, Training, compared

SEARCH_SHARE = 0.25
DATASET = "scikit-learn digits: " + ", ".join(f"{name} {b - a}" for name, (a, b) in PARTS.items())


class DigitsStudy(TrainingStudy):
    """Two convolutions on images, made small in two ways."""

    name = "digits"
    description = __doc__
    seeds: ClassVar = (0, 1, 2, 3, 4)
    one_core = True  # more gain nothing on so small a network
    options: ClassVar = {
        "epochs": (32, None),
        "batch_size": (30, None),
        "lr": (2e-3, None),
        "lr_growth": (LR_GROWTH, "exponent by which lr grows with narrowing"),
    }

    def systems(self, args: argparse.Namespace) -> list[System]:
        return all_systems()

    def dataset(self, args: argparse.Namespace) -> str:
        return DATASET

    def training(self, system: System, seed: int, args: argparse.Namespace) -> Training:
        data = DigitsDataModule(args.batch_size)
        module = system.module(args.lr, args.lr_growth)
        config = {"system": system.name, **self.settings(args)}
        folder = run_folder(args.runs, config, seed, DATASET)
        options = {"search_share": SEARCH_SHARE, "monitor": "val/error_rate"}
        return Training(system, module, data, folder, args.epochs, config, seed, DATASET, options)

    def facts(self, system: System, run: Training, args: argparse.Namespace) -> Record:
        sizes = run.module.complexity.sizes_now
        return {
            "kind": system.kind,
            "channels": [sizes[name] for name in ("conv1", "conv2")] if run.module.is_dynamic else [*system.channels],
            "flops_per_call_full": full_complexity().flops_full_size(),
        }

    def keep(self, run: Training, history: Mapping[str, Sequence[float]]) -> Record:
        return compared(run.module, run.data)

    def summary(self, record: Record) -> str:
        return (
            f"{record['config']['system']:16s} seed {record['seed']}: error on validation "
            f"{percent(record, 'val/error_rate'):.2f} %, {record['flops_per_call'] / 1e3:.1f} kFLOPs, "
            f"{record['wall_time_s']:.0f} s"
        )

    def write_tables(self, results: str | os.PathLike[str], folder: Path) -> None:
        write_tables(results, folder)


STUDY = DigitsStudy()

if __name__ == "__main__":
    as_command(STUDY.main)
