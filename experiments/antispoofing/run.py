"""The anti-spoofing study: every system with every seed, then the tables and the figure.

``make reproduce-asvspoof DATA_ROOT=… PRESET=…`` on ASVspoof2019 LA or a corpus of its layout. A run that is in
``results.jsonl`` is not run again, and a run that was killed goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor

from dyn_lightning.data.asvspoof2019 import ASVspoof2019DataModule
from dyn_lightning.data.score_files import ScoreTable, write_scores
from dyn_lightning.features.front_ends import Normalisation
from dyn_lightning.metrics.bootstrap import bootstrap_interval
from dyn_lightning.metrics.eer import eer
from dyn_lightning.module import DynamicModule
from dyn_lightning.runs import read_runs
from dyn_lightning.tasks.spoof_detection import bonafide_scores
from experiments.antispoofing.data import FewUtterances, is_published
from experiments.antispoofing.data import data_name as data_name
from experiments.antispoofing.systems import (
    LAM_MINS_ALONE,
    PRESETS,
    SEEDS,
    Settings,
    System,
    all_systems,
    changed,
    full_complexity,
)
from experiments.antispoofing.table import names, runs_of, studies, write_tables
from experiments.command import as_command
from experiments.study import TrainingStudy, run_folder
from experiments.training import Record, Training

HERE = Path(__file__).parent
SCORES = "eval_scores.txt"
"""Name of the file, in a run's folder, that ``dyn-lightning score`` reads."""


class AntiSpoofingStudy(TrainingStudy):
    """A residual network: under FLOPs budgets, and the paper's grid."""

    name = "antispoofing"
    description = __doc__
    seeds: ClassVar = ()  # the preset's
    data_root = "folder that holds LA"

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--preset", choices=list(PRESETS), default="full", help="what is not given, the seeds too")
        parser.add_argument("--per_system", type=int, help="first so many utterances of each system alone, to try")
        of_preset = parser.add_argument_group("in place of the preset's")
        of_preset.add_argument("--epochs", type=int)
        of_preset.add_argument("--batch_size", type=int)
        of_preset.add_argument("--lr", type=float, help="at full size")
        of_preset.add_argument("--lr_growth", type=float, help="exponent of what a network is narrower by")
        of_preset.add_argument("--normalisation", choices=get_args(Normalisation))
        of_preset.add_argument("--freq_mask", type=int)
        of_preset.add_argument("--time_mask", type=int)

    def settle(self, args: argparse.Namespace) -> None:
        names = ("epochs", "batch_size", "lr", "lr_growth", "normalisation", "freq_mask", "time_mask")
        args.settings = changed(PRESETS[args.preset], **{name: getattr(args, name) for name in names})
        args.seeds = args.seeds or SEEDS[args.preset]

    def settings(self, args: argparse.Namespace) -> dict[str, Any]:
        settings: Settings = args.settings
        return settings.as_json()

    def systems(self, args: argparse.Namespace) -> list[System]:
        return all_systems(args.settings, LAM_MINS_ALONE[args.preset])

    def rank(self, system: System) -> int:
        return int(system.kind == "paper")

    def dataset(self, args: argparse.Namespace) -> str:
        data_module(args, args.settings).setup()
        return data_name(args.data_root, args.per_system)

    def training(self, system: System, seed: int, args: argparse.Namespace) -> Training:
        settings: Settings = args.settings
        config = {"system": system.name, **settings.as_json()}
        dataset = data_name(args.data_root, args.per_system)
        folder = run_folder(args.runs, config, seed, dataset)
        data = data_module(args, settings, seed)
        module = system.module(settings)
        options = {"search_share": settings.search_share}
        return Training(system, module, data, folder, settings.epochs, config, seed, dataset, options)

    def last_too(self, system: System) -> bool:
        return system.kind == "full"

    def facts(self, system: System, run: Training, args: argparse.Namespace) -> Record:
        assert isinstance(run.data, ASVspoof2019DataModule)
        table = eval_scores(run.module, run.data)
        write_scores(run.folder / SCORES, table)
        return {
            "kind": system.kind,
            "published_corpus": args.per_system is None and is_published(args.data_root),
            "eer_interval": list(eer_interval(table)),
            "flops_per_second_full": full_complexity(args.settings).flops_full_size(),
        }

    def summary(self, record: Record) -> str:
        """No result on eval, by which nothing may be chosen."""
        return (
            f"{record['config']['system']:28s} seed {record['seed']}: "
            f"dev EER {100 * record['metrics']['val/eer']:.2f} %, "
            f"{100 * record['flops_per_second'] / record['flops_per_second_full']:.1f} % of the FLOPs, "
            f"{record['wall_time_s']:.0f} s"
        )

    def write_tables(self, results: str | os.PathLike[str], folder: Path) -> None:
        write_tables(results, folder)


def data_module(args: argparse.Namespace, settings: Settings, seed: int = 0) -> ASVspoof2019DataModule:
    """The data of a run."""
    options: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "n_samples": settings.n_samples,
        "train_seed": seed,
        "num_workers": args.num_workers,
    }
    if args.per_system is None:
        return ASVspoof2019DataModule(args.data_root, **options)
    return FewUtterances(args.data_root, args.per_system, **options)


@torch.no_grad()
def eval_scores(module: DynamicModule, data: ASVspoof2019DataModule) -> ScoreTable:
    """What the network says of every utterance of eval, as a score file of the challenge has it."""
    module.eval()
    names: list[str] = []
    systems: list[str] = []
    scores: list[Tensor] = []
    targets: list[Tensor] = []
    for batch in data.test_dataloader()[0]:
        audio = batch["audio"].to(module.device)
        scores.append(bonafide_scores(module.network(audio), "cross_entropy").cpu())
        targets.append(batch["target"])
        names += batch["utterance_id"]
        systems += batch["meta"]["system"]
    keys = ["bonafide" if target else "spoof" for target in torch.cat(targets).tolist()]
    return ScoreTable(names, systems, keys, torch.cat(scores).double())


def eer_interval(table: ScoreTable) -> tuple[float, float]:
    """95 % bootstrap interval of the EER, by utterances."""
    return bootstrap_interval(lambda s, t: eer(s, t, convention="asvspoof2019")[0], table.scores, table.targets)


def score_files(results: Path, runs: Path) -> list[Path]:
    """Score files of the table's first study: of each system the first seed whose file is still there."""
    records = next(iter(studies(read_runs(results)).values()), [])
    found = []
    for name in names(records):
        own = (run_folder(runs, r["config"], r["seed"], r["dataset"]) / SCORES for r in runs_of(name, records))
        found += [path for path in own if path.is_file()][:1]
    return found


STUDY = AntiSpoofingStudy()

if __name__ == "__main__":
    as_command(STUDY.main)
