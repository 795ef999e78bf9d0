"""Drives a run through its phases: warmup, search, settle."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch import Callback

from dyn_lightning.errors import SettingError
from dyn_lightning.module import DynamicModule


class PhaseSwitch(Callback):
    """Warms up for some epochs, or until a monitored value stops improving, then searches and settles.

    The search ends after ``search_epochs``, or earlier where the objective says that it is finished. Without
    epochs left to settle in, widths freeze at the end of the run, as in arXiv 2601.13704.

    Args:
        warmup_epochs: epochs of warmup; with ``monitor``: at most so many.
        search_epochs: epochs of search at most; None: to the end of the run.
        monitor: a logged value, e.g. ``val/loss``; None: the warmup has a fixed length.
        patience: epochs without an improvement after which the warmup ends.
        min_delta: the least change that counts as an improvement.
        mode: "min" or "max".

    Raises:
        ValueError: for negative lengths, an unknown mode, a monitored value that is not logged, or, at the
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
        if warmup_epochs < 0 or (search_epochs is not None and search_epochs < 1):
            raise SettingError(
                f"warmup_epochs={warmup_epochs} must be 0 or more, search_epochs={search_epochs} 1 or more"
            )
        if mode not in ("min", "max"):
            raise SettingError(f"mode={mode!r} must be min or max")
        self.warmup_epochs, self.search_epochs = warmup_epochs, search_epochs
        self.monitor, self.patience, self.min_delta, self.mode = monitor, patience, min_delta, mode
        self.best: float | None = None
        self.epochs_without_improvement = 0

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        module = _dynamic(pl_module)
        epochs = trainer.max_epochs
        if epochs is None or epochs < 0:
            raise SettingError("PhaseSwitch counts in epochs: set the trainer's max_epochs")
        wanted = self.warmup_epochs + (self.search_epochs or 1)
        if module.is_dynamic and wanted > epochs:
            raise SettingError(
                f"warmup_epochs={self.warmup_epochs} and search_epochs={self.search_epochs} need {wanted} "
                f"epochs, the run has max_epochs={epochs}: raise max_epochs or shorten a phase"
            )
        # A resumed run has its phase from the checkpoint.
        if trainer.ckpt_path is None and module.phase == "search":
            module.set_phase("warmup")

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        module = _dynamic(pl_module)
        if module.phase == "warmup" and (trainer.current_epoch >= self.warmup_epochs or self._stalled):
            self._start_search(trainer, module)

    def _start_search(self, trainer: lightning.Trainer, module: DynamicModule) -> None:
        assert trainer.max_epochs is not None
        steps_per_epoch = int(trainer.estimated_stepping_batches) / trainer.max_epochs
        left = trainer.max_epochs - trainer.current_epoch
        epochs = min(self.search_epochs or left, left)
        module.set_search_steps(trainer.global_step, trainer.global_step + round(epochs * steps_per_epoch))
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
        if self.best is None or score < self.best - self.min_delta:
            self.best, self.epochs_without_improvement = score, 0
        else:
            self.epochs_without_improvement += 1

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "epochs_without_improvement": self.epochs_without_improvement}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]
        self.epochs_without_improvement = state_dict["epochs_without_improvement"]


def _dynamic(module: lightning.LightningModule) -> DynamicModule:
    if not isinstance(module, DynamicModule):
        raise TypeError(f"PhaseSwitch drives a DynamicModule, not a {type(module).__name__}")
    return module
