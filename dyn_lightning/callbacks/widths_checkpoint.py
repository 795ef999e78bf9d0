"""Checkpoints of a run in which the network changes its size."""

from __future__ import annotations

import os

import lightning
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from dyn_lightning.errors import SettingError
from dyn_lightning.module import DynamicModule
from dyn_lightning.module.checkpoint_io import write_whole_checkpoints
from dyn_lightning.runs.folder import CHECKPOINTS, run_folder


class WidthsCheckpoint(ModelCheckpoint):
    """Keeps ``last.ckpt`` of every epoch to resume from, and the best checkpoint with the final sizes.

    A score from before the sizes are final belongs to a larger network, so it chooses nothing. In a run
    without epochs to settle in, the best checkpoint is the last one. A module without learned sizes has its
    final sizes from the start.

    All checkpoints of the run, those of other callbacks too, are written as a whole or not at all, unless the trainer
    was given a ``CheckpointIO`` of your own.

    Args:
        monitor: what is to be best, a logged value of the validation.
        mode: "min" or "max".
        dirpath: folder; None: ``checkpoints`` in the run's.
        filename: of the best checkpoint.
    """

    def __init__(
        self,
        monitor: str = "val/loss",
        mode: str = "min",
        dirpath: str | None = None,
        filename: str = "best",
    ) -> None:
        if mode not in ("min", "max"):
            raise SettingError(f"mode={mode!r} must be min or max")
        super().__init__(
            dirpath=dirpath,
            filename=filename,
            monitor=monitor,
            mode=mode,
            save_top_k=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
            auto_insert_metric_name=False,
        )
        self._final = self._validated = False

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        write_whole_checkpoints(trainer)
        if self.dirpath is None and stage == "fit" and not trainer.loggers:
            self.dirpath = str(run_folder(trainer) / CHECKPOINTS)  # Lightning's own has one place for all runs then
        super().setup(trainer, pl_module, stage)

    def check_monitor_top_k(self, trainer: lightning.Trainer, current: Tensor | None = None) -> bool:
        return self._final and super().check_monitor_top_k(trainer, current)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        self._validated = _settled(pl_module) and not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # A score that is left from an earlier epoch may be of other sizes.
        self._final = _settled(pl_module) and (self._validated or not trainer.enable_validation)
        self._validated = False
        super().on_train_epoch_end(trainer, pl_module)
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            assert self.dirpath is not None
            self.last_model_path = os.path.join(self.dirpath, f"{self.CHECKPOINT_NAME_LAST}.ckpt")
            trainer.save_checkpoint(self.last_model_path, weights_only=False)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        if not self.best_model_path:
            self.best_model_path = self.last_model_path

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        # A resumed run may log into another folder; what was best before still counts.
        super().load_state_dict({**state_dict, "dirpath": self.dirpath})


def _settled(module: lightning.LightningModule) -> bool:
    return not isinstance(module, DynamicModule) or module.phase == "settle"
