"""The two tasks on which methods are compared: a network, data, and how long it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import nn

from dyn_lightning.complexity import Complexity
from dyn_lightning.data.asvspoof2019 import ASVspoof2019DataModule
from dyn_lightning.data.vad import VADDataModule
from dyn_lightning.dynamize import dynamize
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.tasks import FrameDetection, SpoofDetection, Task
from experiments.antispoofing import run as spoofing_run
from experiments.antispoofing import systems as spoofing
from experiments.vad import run as vad_run
from experiments.vad import systems as vad

EXPERIMENTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Bench:
    """A task with everything that is the same for all methods.

    Attributes:
        name: of the task.
        config: what decides a run beside its method and seed; in every record.
        epochs, lr: of the whole run; of the weights.
        search_share: of the epochs, that our search takes.
        beta: β of the paper's objective for the task.
        backbone: makes the network at full size.
        narrower: makes it uniformly narrower, at a share of its FLOPs.
        task: makes loss and metrics.
        data: makes the data module, of a root, a seed and a number of workers.
        data_name: what a root holds.
        test: name of the test metric.
        all_flops: whether budgets are shares of all FLOPs/s, and not of the learnable ones.
        shared: results of the study that trains full size, learned and uniform in the same way.
        runs: where that study keeps checkpoints.
    """

    name: str
    config: dict[str, Any]
    epochs: int
    lr: float
    search_share: float
    beta: float
    backbone: Callable[[], nn.Module]
    narrower: Callable[[float], nn.Module]
    task: Callable[[], Task]
    data: Callable[[str, int, int], lightning.LightningDataModule]
    data_name: Callable[[str], str]
    test: str
    all_flops: bool
    shared: Path
    runs: str
    duration_s: float = 1.0
    lr_lam: float = 0.03
    lr_hold: float = 0.5

    def budget(self, share: float) -> float:
        """FLOPs/s, all included, that a share stands for."""
        cost = complexity_of(self)
        if self.all_flops:
            return share * cost.flops_full_size()
        return cost.fixed_flops() + share * cost.learnable_flops()


@cache
def _complexity(backbone: Callable[[], nn.Module], duration_s: float) -> Complexity:
    network = backbone()
    example = torch.zeros(1, round(duration_s * network.sample_rate))  # type: ignore[operator,arg-type]
    complexity: Complexity = dynamize(network, example, duration_s=duration_s).complexity
    return complexity


def complexity_of(bench: Bench) -> Complexity:
    """Cost of a bench's network as a function of all its sizes."""
    return _complexity(bench.backbone, bench.duration_s)


def vad_bench(epochs: int = 8, items_per_epoch: int = 1600, batch_size: int = 32, lr: float = 3e-3) -> Bench:
    """CRNNVAD on mixtures of speech and noise."""
    options: dict[str, Any] = {"batch_size": batch_size, "items_per_epoch": items_per_epoch}

    def data(root: str, seed: int, num_workers: int) -> VADDataModule:
        return VADDataModule(root, train_seed=seed, num_workers=num_workers, **options)

    def data_name(root: str) -> str:
        found = data(root, 0, 0)
        found.setup()
        return vad_run.data_name(found)

    return Bench(
        name="vad",
        config={"epochs": epochs, "lr": lr, **options},
        epochs=epochs,
        lr=lr,
        search_share=0.125,
        beta=0.5,
        backbone=CRNNVAD,
        narrower=lambda share: CRNNVAD(**vad.uniform_sizes(share)),
        task=FrameDetection,
        data=data,
        data_name=data_name,
        test="test/mixed/eer",
        all_flops=False,
        shared=vad_run.RESULTS,
        runs="runs/vad",
    )


def spoofing_bench(settings: spoofing.Settings = spoofing.PRESETS["mini"]) -> Bench:
    """The residual network of the anti-spoofing study."""

    def data(root: str, seed: int, num_workers: int) -> ASVspoof2019DataModule:
        return ASVspoof2019DataModule(
            root,
            batch_size=settings.batch_size,
            n_samples=settings.n_samples,
            train_seed=seed,
            num_workers=num_workers,
        )

    return Bench(
        name="antispoofing",
        config=settings.as_json(),
        epochs=settings.epochs,
        lr=settings.lr,
        search_share=settings.search_share,
        beta=spoofing.BETA,
        backbone=settings.backbone,
        narrower=lambda share: settings.backbone(**spoofing.uniform_sizes(settings, share)),
        task=partial(SpoofDetection, spoof_weight=settings.spoof_weight, bonafide_weight=settings.bonafide_weight),
        data=data,
        data_name=spoofing_run.data_name,
        test="test/eer",
        all_flops=True,
        shared=spoofing_run.RESULTS,
        runs="runs/antispoofing",
        duration_s=settings.n_samples / spoofing.SAMPLE_RATE,
    )


BENCHES: dict[str, Callable[[], Bench]] = {"vad": vad_bench, "antispoofing": spoofing_bench}
