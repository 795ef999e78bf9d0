"""One run of a study: a network trained through its phases, its checkpoint chosen, measured and made small."""

from __future__ import annotations

import logging
import math
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import lightning
import torch
from torch import Tensor, nn

from dyn_lightning.callbacks import ComplexityLogger, LambdaClamp, PhaseSwitch, WidthsCheckpoint
from dyn_lightning.consolidate import consolidate
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.dynamize import dynamize
from dyn_lightning.module import DynamicModule
from dyn_lightning.module.artifact import load_checkpoint, write_artifact
from dyn_lightning.runs import plot_history, result_record
from dyn_lightning.runs.environment import revision

WARMUP_SHARE, SEARCH_SHARE = 0.125, 0.125
LR_GROWTH = 0.8
"""Exponent by which the learning rate grows with what a network is narrower: threefold at a quarter of the width."""
Record = dict[str, Any]


class StudySystem(Protocol):
    """What a run has to know of its system."""

    @property
    def name(self) -> str:
        """Of the system, and of its folder."""

    @property
    def settles(self) -> bool:
        """Whether the sizes are final before the end, so that validation chooses the checkpoint."""

    def callbacks(self) -> list[lightning.Callback]:
        """What else acts on the run, e.g. ranks the elements when the search begins."""

    @property
    def lam_min(self) -> float | None:
        """Least λ; one unit when absent."""


@dataclass(frozen=True)
class Fit:
    """A training that has ended.

    Attributes:
        trainer: that ran it.
        best: path of the checkpoint that was chosen.
        last: path of the last one.
        history: sizes and cost over the steps.
        resumed: whether it went on from a checkpoint; its time is then that of the rest.
        wall_time_s: of the training alone.
    """

    trainer: lightning.Trainer
    best: str
    last: str
    history: Mapping[str, Sequence[float]]
    resumed: bool
    wall_time_s: float


@dataclass(frozen=True)
class Training:
    """Everything that makes one run, about to begin.

    Attributes:
        system: that is trained.
        module: the system's.
        data: to train, validate and test on.
        folder: of checkpoints and artifact.
        epochs: of the whole run.
        config: what decides the run beside seed and data, the system's name among it.
        seed, dataset: of the run; in its record.
        options: of :func:`fit`.
    """

    system: StudySystem
    module: DynamicModule
    data: lightning.LightningDataModule
    folder: Path
    epochs: int
    config: Mapping[str, Any]
    seed: int
    dataset: str
    options: Mapping[str, Any] = field(default_factory=dict)


def begin_run(seed: int, jobs: int) -> None:
    """Seeds a run and gives it its share of the cores."""
    quieten()
    revision()  # of the code that runs: files may change until the record is made
    cores = os.cpu_count() or 1
    torch.set_num_threads(max(1, min(cores // jobs, int(os.environ.get("OMP_NUM_THREADS", cores)))))
    lightning.seed_everything(seed, verbose=False)


def trained(run: Training, *, last_too: bool = False) -> tuple[Record, Fit]:
    """Train, choose the checkpoint, and measure it: the record of a run, and its training. The module keeps the best.

    Args:
        run: that is about to begin, or goes on where it was killed.
        last_too: measure the last checkpoint as well (``metrics_last``): what a setting that has no time to settle in
            is compared with.
    """
    fitted = fit(run.system, run.module, run.data, run.folder, run.epochs, **run.options)
    last = {"metrics_last": evaluate(fitted.trainer, run.module, run.data, fitted.last)} if last_too else {}
    record = result_record(
        run.module,
        metrics=evaluate(fitted.trainer, run.module, run.data, fitted.best),
        config=dict(run.config),
        seed=run.seed,
        dataset=run.dataset,
        wall_time_s=fitted.wall_time_s,
        history=fitted.history,
    )
    return record | {"resumed": fitted.resumed} | last, fitted


def fit(
    system: StudySystem,
    module: DynamicModule,
    data: lightning.LightningDataModule,
    folder: Path,
    epochs: int,
    *,
    warmup_share: float = WARMUP_SHARE,
    search_share: float = SEARCH_SHARE,
    monitor: str = "val/eer",
    multiple_of: int | None = None,
) -> Fit:
    """Train through all phases; a run whose folder holds ``last.ckpt`` goes on from there.

    Args:
        system: that is trained.
        module: the system's.
        data: to train and validate on.
        folder: of checkpoints.
        epochs: of the whole run.
        warmup_share: of the epochs, that warm up.
        search_share: of the epochs, that search where the system settles; the rest settles.
        monitor: the value of validation, the least of which chooses the checkpoint.
        multiple_of: elements that every size gives up together.
    """
    warmup = max(1, round(warmup_share * epochs))
    search = max(1, round(search_share * epochs)) if system.settles else None
    checkpoint, history = WidthsCheckpoint(monitor, dirpath=str(folder)), ComplexityLogger()
    callbacks = [
        PhaseSwitch(warmup, search),
        *system.callbacks(),
        LambdaClamp(system.lam_min, multiple_of),
        history,
        checkpoint,
    ]
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="auto",
        devices=1,
        logger=False,
        callbacks=callbacks,
        gradient_clip_val=5.0,
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    last = folder / "last.ckpt"
    resumed = last.is_file()
    start = time.perf_counter()
    trainer.fit(module, data, ckpt_path=str(last) if resumed else None)
    wall_time_s = time.perf_counter() - start
    return Fit(trainer, checkpoint.best_model_path, str(last), history.history, resumed, wall_time_s)


def evaluate(
    trainer: lightning.Trainer, module: DynamicModule, data: lightning.LightningDataModule, checkpoint: str
) -> dict[str, float]:
    """Validation and test metrics of a checkpoint, which the module keeps."""
    load_checkpoint(module, checkpoint)
    metrics: dict[str, float] = {}
    for stage in (trainer.validate, trainer.test):
        for row in stage(module, datamodule=data, verbose=False):
            metrics |= {name: float(value) for name, value in row.items()}
    return metrics


def keep_artifact(
    module: DynamicModule, data: lightning.LightningDataModule, history: Mapping[str, Sequence[float]], folder: Path
) -> Record:
    """Writes the small network and the figure of its sizes; what the record has to say of it."""
    if not module.is_dynamic:
        return {}
    inputs = [module.task.input_of(batch) for batch in islice(data.val_dataloader(), 4)]
    _, report = write_artifact(module, folder / "artifact", inputs)
    if history:
        plot_history(history, folder / "widths.png")
    return {"largest_relative_difference": report.largest_relative_difference}


def compared(module: DynamicModule, data: lightning.LightningDataModule) -> Record:
    """Makes the small network and writes nothing; what the record has to say of it."""
    if not module.is_dynamic:
        return {}
    inputs = [module.task.input_of(batch) for batch in islice(data.val_dataloader(), 4)]
    return {"largest_relative_difference": consolidate(module.learned[0], inputs)[1].largest_relative_difference}


@torch.random.fork_rng()
def narrow_lr(lr: float, growth: float, full: Complexity, narrower: nn.Module, example: Tensor) -> float:
    """The learning rate of a network that is built narrower: by the rule that raises it where sizes are learned.

    Args:
        lr: at full size.
        growth: exponent of the geometric mean of what each size is smaller by (``lr_growth`` of DynamicModule).
        full: cost of the network at full size.
        narrower: the same network with smaller sizes.
        example: input of a network.
    """
    sizes = dynamize(narrower, example).complexity.full_sizes
    logs = [math.log(size / sizes[name]) for name, size in full.full_sizes.items()]
    return float(lr * math.exp(growth * sum(logs) / len(logs)))


def quieten() -> None:
    """Keep Lightning's notes of every run out of the study's output."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
