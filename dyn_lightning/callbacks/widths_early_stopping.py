"""Early stopping of a run in which the network changes its size."""

from __future__ import annotations

import lightning
from lightning.pytorch.callbacks import EarlyStopping

from dyn_lightning.module import DynamicModule


class WidthsEarlyStopping(EarlyStopping):
    """Lightning's EarlyStopping, which counts from the final sizes on.

    In the warm-up a loss that stands still is when the search should begin (``PhaseSwitch(monitor=…)``), and in the
    search it rises because the network gets smaller: neither is a reason to end the run, whose sizes would not be
    final. Arguments are those of Lightning's.
    """

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if _settled(pl_module):
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if _settled(pl_module):
            super().on_train_epoch_end(trainer, pl_module)


def _settled(module: lightning.LightningModule) -> bool:
    return not isinstance(module, DynamicModule) or module.phase == "settle"
