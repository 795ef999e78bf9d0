"""The voice-activity study: every system with every seed, then the table.

``make reproduce-vad DATA_ROOT=…`` on any data root (LibriSpeech or VCTK, ESC-50, and AMI where present). A run that is
in ``results.jsonl`` is not run again, and a run that was killed goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import ClassVar

from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.data.corpora import SPEECH, Clip
from dyn_lightning.data.corpora.vctk import FOLDER as VCTK_FOLDER
from dyn_lightning.data.vad import VADDataModule
from experiments.command import as_command
from experiments.study import TrainingStudy, run_folder
from experiments.training import LR_GROWTH, Record, Training
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


class VoiceActivityStudy(TrainingStudy):
    """Networks of voice activity detection: under FLOPs budgets, and with bands alone learned."""

    name = "vad"
    description = __doc__
    data_root = "folder of the corpora"
    options: ClassVar = {
        "epochs": (16, None),
        "items_per_epoch": (3200, None),
        "batch_size": (32, None),
        "lr": (3e-3, "at full size"),
        "lr_growth": (LR_GROWTH, "exponent of what a network is narrower by"),
    }

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--speech", choices=("auto", *SPEECH), default="auto", help="which corpus of speech")
        parser.add_argument("--eval_items", type=int, help="to validate and to test on; 256 and 500 when absent")

    def systems(self, args: argparse.Namespace) -> list[System]:
        return all_systems()

    def rank(self, system: System) -> int:
        return int(system.control)

    def dataset(self, args: argparse.Namespace) -> str:
        data = data_module(args)
        data.setup()
        return data_name(data)

    def training(self, system: System, seed: int, args: argparse.Namespace) -> Training:
        data = data_module(args, seed)
        module = system.module(args.lr, args.lr_growth)
        data.setup()
        config, dataset = {"system": system.name, **self.settings(args)}, data_name(data)
        folder = run_folder(args.runs, config, seed, dataset)
        return Training(system, module, data, folder, args.epochs, config, seed, dataset)

    def last_too(self, system: System) -> bool:
        return not system.learns and not system.backbone

    def facts(self, system: System, run: Training, args: argparse.Namespace) -> Record:
        assert isinstance(run.data, VADDataModule)
        return {
            "published_corpus": args.eval_items is None and is_published(run.data),
            "network": system.network,
            "settles": system.settles,
            "control": system.control,
            "flops_per_second_full": full_size_cost(system.network),
            "flops_per_second_published": published_flops(run.module.complexity),
        }

    def summary(self, record: Record) -> str:
        return (
            f"{record['config']['system']:24s} seed {record['seed']}: EER {100 * eer_of(record):.2f} %, "
            f"{record['flops_per_second'] / 1e6:.2f} MFLOPs/s, {record['wall_time_s']:.0f} s"
        )

    def write_tables(self, results: str | os.PathLike[str], folder: Path) -> None:
        write_speed(results, folder)
        write_tables(results, folder)


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


def eer_of(record: Record) -> float:
    """EER on the mixed test set, whether or not there was a second one."""
    metrics = record["metrics"]
    return float(metrics.get("test/mixed/eer", metrics.get("test/eer")))


STUDY = VoiceActivityStudy()

if __name__ == "__main__":
    as_command(STUDY.main)
