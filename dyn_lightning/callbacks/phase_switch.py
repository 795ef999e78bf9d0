"""Drives a run through its phases: warmup, search, settle."""

from __future__ import annotations

import math
from typing import Any

import lightning
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities import rank_zero_warn

from dyn_lightning.callbacks.widths_early_stopping import WidthsEarlyStopping
from dyn_lightning.checks import at_least, whole
from dyn_lightning.errors import SettingError
from dyn_lightning.module import DynamicModule
from dyn_lightning.module.run_length import steps_in_epochs, steps_of_run


class PhaseSwitch(Callback):
    """Warms up for some epochs, or until a monitored value stops improving, then searches and settles.

    The search ends after ``search_epochs``, or earlier where the objective says that it is finished. Without
    epochs left to settle in, widths freeze at the end of the run, as in arXiv 2601.13704. An epoch of the search is an
    epoch of the training data, whether ``max_epochs`` or ``max_steps`` ends the run; where a training loader has no
    length, it is as many steps as the epochs of the warmup had.

    Args:
        warmup_epochs: epochs of warmup; with ``monitor``: at most so many.
        search_epochs: epochs of search at most; None: to the end of the run.
        monitor: a logged value, e.g. ``val/loss``; None: the warmup has a fixed length.
        patience: epochs without an improvement after which the warmup ends, 1 or more.
        min_delta: the least change that counts as an improvement, 0 or more.
        mode: "min" or "max".

    Raises:
        SettingError: for negative lengths, an unknown mode, a monitored value that is not logged, or, at the
            start of a fit, phases longer than the run.
        TypeError: at the start of a fit, for a module without phases.
    """

    def __init__(
        self,
        warmup_epochs: int = 0,
        search_epochs: int | None = None,
        monitor: str | None = None,
        patience: int = 3,
        min_delta: float = 0.0,
        mode: str = "min",
    ) -> None:
        whole(0, warmup_epochs=warmup_epochs)
        whole(1, search_epochs=search_epochs, patience=patience)
        at_least(0.0, min_delta=min_delta)
        if mode not in ("min", "max"):
            raise SettingError(f"mode={mode!r} must be min or max")
        self.warmup_epochs, self.search_epochs = warmup_epochs, search_epochs
        self.monitor, self.patience, self.min_delta, self.mode = monitor, patience, min_delta, mode
        self.best: float | None = None
        self.epochs_without_improvement = 0

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        module = _dynamic(pl_module)
        if module.is_dynamic and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._check_length(trainer)
            callbacks = trainer.callbacks  # type: ignore[attr-defined]
            if any(isinstance(c, EarlyStopping) and not isinstance(c, WidthsEarlyStopping) for c in callbacks):
                rank_zero_warn(
                    "EarlyStopping counts in the warm-up and the search too, and can end the run before its sizes are "
                    "final: use dyn_lightning.callbacks.WidthsEarlyStopping, which counts from then on"
                )
        # A resumed run has its phase from the checkpoint.
        if trainer.ckpt_path is None and module.phase == "search":
            module.set_phase("warmup")

    def _check_length(self, trainer: lightning.Trainer) -> None:
        epochs, steps = trainer.max_epochs, trainer.max_steps
        endless = epochs is None or epochs < 0
        if endless and steps < 0 and self.search_epochs is None:
            raise SettingError(
                "the search would never end: give search_epochs, or the trainer's max_epochs or max_steps"
            )
        wanted = self.warmup_epochs + (self.search_epochs or 1)
        if epochs is not None and not endless and wanted > epochs:
            raise SettingError(
                f"warmup_epochs={self.warmup_epochs} and search_epochs={self.search_epochs} need {wanted} "
                f"epochs, the run has max_epochs={epochs}: raise max_epochs or shorten a phase"
            )
        needed = steps_in_epochs(trainer, 0, wanted if self.search_epochs else self.warmup_epochs)
        if 0 <= steps < (needed or 0):
            rank_zero_warn(
                f"warmup_epochs={self.warmup_epochs} and search_epochs={self.search_epochs} need {needed} steps, the "
                f"run has max_steps={steps}: its sizes will not be final. Raise max_steps, now or when it goes on, or "
                "shorten a phase"
            )

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        module = _dynamic(pl_module)
        over = trainer.current_epoch >= self.warmup_epochs or self._stalled or trainer.fast_dev_run  # type: ignore[attr-defined]
        if module.phase == "warmup" and over:
            self._start_search(trainer, module)

    def _start_search(self, trainer: lightning.Trainer, module: DynamicModule) -> None:
        first, epoch = trainer.global_step, trainer.current_epoch
        if self.search_epochs is None:
            end = steps_of_run(trainer, module.steps_per_epoch)
        else:
            steps = steps_in_epochs(trainer, epoch, self.search_epochs, module.steps_per_epoch)
            end = None if steps is None else first + steps
        if end is None:
            raise SettingError(
                "nobody knows yet how many steps the search has, as the training loader has no length: give "
                "warmup_epochs=1 or more, or the trainer's limit_train_batches"
            )
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            end = min(end, trainer.max_steps)
        module.set_search_steps(first, end)
        module.set_phase("search")

    @property
    def _stalled(self) -> bool:
        return self.monitor is not None and self.epochs_without_improvement >= self.patience

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.monitor is None or trainer.sanity_checking or _dynamic(pl_module).phase != "warmup":
            return
        value = trainer.callback_metrics.get(self.monitor)
        if value is None:
            known = ", ".join(sorted(trainer.callback_metrics))
            raise SettingError(f"PhaseSwitch: monitor={self.monitor!r} is not logged; there are {known}")
        score = float(value) if self.mode == "min" else -float(value)
        # What is no number is no improvement, and nothing to improve on.
        if math.isfinite(score) and (self.best is None or score < self.best - self.min_delta):
            self.best, self.epochs_without_improvement = score, 0
        else:
            self.epochs_without_improvement += 1

    def state_dict(self) -> dict[str, object]:
        return {"best": self.best, "epochs_without_improvement": self.epochs_without_improvement}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]
        self.epochs_without_improvement = state_dict["epochs_without_improvement"]


def _dynamic(module: lightning.LightningModule) -> DynamicModule:
    if not isinstance(module, DynamicModule):
        raise TypeError(f"PhaseSwitch drives a DynamicModule, not a {type(module).__name__}")
    return module
