"""One call: a trained network and its inputs → a small network of the same class, which answers nearly the same."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader

from dyn_lightning.callbacks import BatchNormReestimation, ComplexityLogger, LambdaClamp
from dyn_lightning.callbacks.progress_bar import WidthsProgressBar
from dyn_lightning.checks import positive, whole, within
from dyn_lightning.consolidate import Report, consolidate
from dyn_lightning.costs.budgets import budget_in_flops, check_budget
from dyn_lightning.dynamize import dynamize
from dyn_lightning.errors import SettingError
from dyn_lightning.module import DynamicModule
from dyn_lightning.module.artifact import as_call, example_of, write_artifact
from dyn_lightning.module.batches import data_batches
from dyn_lightning.objectives import ProfiledBudget
from dyn_lightning.runs import plot_history
from dyn_lightning.shrink.start import begin, mean_distance
from dyn_lightning.tasks import Imitation

PROFILE, CHECKPOINTS, ARTIFACT, FIGURE = "profile.json", "checkpoints", "artifact", "widths.png"


def shrink(
    network: nn.Module,
    batches: Iterable[Any] | LightningDataModule,
    *,
    share: float | None = None,
    share_of_all: float | None = None,
    flops_per_second: float | None = None,
    steps: int = 2000,
    search: float = 0.3,
    lr: float = 1e-3,
    lr_lam: float = 0.01,
    task: Imitation | None = None,
    duration_s: float | None = None,
    profile_batches: int = 4,
    out_dir: str | Path | None = None,
    progress: bool = True,
    seed: int = 0,
    trainer: Mapping[str, Any] | None = None,
    **dynamic: Any,
) -> tuple[nn.Module, Report]:
    """Make a trained network small without labels: it learns to answer what it answers now.

    Elements are ranked by what they do for the outputs, each size is cut alone to see what it loses, sizes under the
    budget are allocated and what was removed is carried over to what stays (:func:`begin`); then sizes and weights
    learn on together, the weights alone at last (settle), and the result is consolidated.

    Args:
        network: any trained network; left as it was.
        batches: its inputs: tensors, tuples whose first is the input, or mappings with the task's ``input_key``; an
            iterable that can be read again, or a Lightning data module.
        share, share_of_all, flops_per_second: the budget, one of the three: of the learnable FLOPs, of all, or in
            FLOPs per second of audio (per call without ``duration_s``).
        steps: optimiser steps in all.
        search: share of them in which sizes still learn; 0: the profile's sizes are final.
        lr, lr_lam: learning rates of the weights (Adam, half a cosine) and of log λ.
        task: what is imitated and how; None: :class:`tasks.Imitation` as it stands.
        duration_s: seconds of audio in one item of the first batch.
        profile_batches: batches, the first ones, for ranking, profile and compensation.
        out_dir: folder for the profile, checkpoints, the artifact and the figure; a run that was interrupted goes on
            there. None: nothing is written.
        progress: show what is done, and a bar with phase, cost and distance.
        seed: of all randomness here.
        trainer: further arguments of Lightning's Trainer, such as ``accelerator``.
        dynamic: further arguments of :func:`dynamize`.

    Returns:
        The small network, in evaluation mode, and the report of the consolidation.

    Raises:
        SettingError: if not one budget is given, it is out of reach, a number cannot be, or there are no batches.
    """
    check_budget(share, share_of_all, flops_per_second)
    whole(1, steps=steps, profile_batches=profile_batches)
    within(0.0, 1.0, search=search)
    positive(lr=lr, lr_lam=lr_lam)
    given = {"share": share, "share_of_all": share_of_all, "flops_per_second": flops_per_second}
    asked = {name: value for name, value in given.items() if value is not None}
    task = task if task is not None else Imitation()
    say = print if progress else lambda text: None
    first = _first(batches, profile_batches)
    if not first:
        raise SettingError("there are no batches to shrink a network on")
    example = example_of([as_call(task.input_of(first[0]))])
    modes = {module: module.training for module in network.modules()}
    items = next((len(x) for x in pytree.tree_leaves(example) if isinstance(x, torch.Tensor) and x.dim()), 1)
    lightning.seed_everything(seed, verbose=False)
    widened = dynamize(
        network.eval(), example, duration_s=None if duration_s is None else duration_s * items, **dynamic
    )
    for module, mode in modes.items():
        module.training = mode
    folder = None if out_dir is None else Path(out_dir)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    widened.train()
    task.follow(widened)
    task.attach(widened)  # now, so that its maps move with the elements
    start = begin(
        widened, task, first, budget_in_flops(widened.complexity, **asked), seed=seed, told=say,
        path=None if folder is None else folder / PROFILE,
    )  # fmt: skip
    told = ", ".join(f"{name} {value:.4g}" for name, value in start.distances.items())
    say(f"sizes by {start.chosen}; distance from the teacher before training: {told}")
    objective = ProfiledBudget(share, flops_per_second, share_of_all, sizes=start.sizes)
    if search == 0.0:
        for name, size in start.sizes.items():
            widened.widths[name].freeze(size)
    objective.begin(widened)
    module = DynamicModule(widened, task, objective, lr=lr, lr_lam=lr_lam)
    module.set_search_steps(0, max(1, math.ceil(search * steps)))
    if search == 0.0:
        module.set_phase("settle")
    logger = ComplexityLogger()
    _fit(module, batches, first, steps, folder, progress, logger, dict(trainer or {}))
    module.eval().cpu()
    inputs = [as_call(task.input_of(batch)) for batch in first]
    small: nn.Module
    if folder is None:
        small, report = consolidate(module.learned[0], inputs)
    else:
        metrics = {"distance": _distance(module, task, first)}
        small, report = write_artifact(
            module, folder / ARTIFACT, [task.input_of(b) for b in first], asked=asked, metrics=metrics
        )
        if logger.history:
            plot_history(logger.history, folder / FIGURE)
    return small.eval(), report


def _first(batches: Iterable[Any] | LightningDataModule, count: int) -> list[Any]:
    source = data_batches(batches, "fit") if isinstance(batches, LightningDataModule) else batches
    return list(itertools.islice(source, count))


def _distance(module: DynamicModule, task: Imitation, batches: Sequence[Any]) -> float:
    task.eval()
    return mean_distance(task, batches)(module.learned[0])


def _fit(
    module: DynamicModule,
    batches: Iterable[Any] | LightningDataModule,
    first: Sequence[Any],
    steps: int,
    folder: Path | None,
    progress: bool,
    logger: ComplexityLogger,
    options: dict[str, Any],
) -> None:
    """Search and settle; from the checkpoint in the folder, if there is one."""
    callbacks: list[Any] = [LambdaClamp(), BatchNormReestimation(), logger, *options.pop("callbacks", ())]
    checkpoint: Path | None = None
    if folder is not None:
        every = max(1, min(500, steps // 4))
        callbacks.append(ModelCheckpoint(folder / CHECKPOINTS, "last", every_n_train_steps=every, save_top_k=1))
        checkpoint = next(
            iter(sorted((folder / CHECKPOINTS).glob("last*.ckpt"), key=lambda p: p.stat().st_mtime)[::-1]), None
        )
    if progress:
        callbacks.append(WidthsProgressBar())
    trainer = lightning.Trainer(
        **{
            "accelerator": "auto", "devices": 1, "logger": False, "enable_model_summary": False, "max_epochs": -1,
            "limit_val_batches": 0, "num_sanity_val_steps": 0, "log_every_n_steps": 10, "max_steps": steps,
            "enable_progress_bar": progress, "enable_checkpointing": folder is not None,
            "callbacks": callbacks, **options,
        }
    )  # fmt: skip
    data: Any = {"datamodule": batches}
    if not isinstance(batches, LightningDataModule):
        data = {"train_dataloaders": batches if isinstance(batches, DataLoader) else _Again(batches)}
    trainer.fit(module, **data, ckpt_path=checkpoint, weights_only=True)


class _Again(Iterable[Any]):
    """Batches of anything that can be read again, and that says how many there are if they are counted."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)
