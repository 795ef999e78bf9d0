"""Batch normalisation statistics that follow the sizes while they are learned."""

from __future__ import annotations

from collections import deque
from typing import Any

import lightning
from lightning.pytorch import Callback

from dyn_lightning.checks import whole
from dyn_lightning.module import DynamicModule
from dyn_lightning.network.batch_norm import batch_norms, reestimate


class BatchNormReestimation(Callback):
    """Re-estimates BatchNorm statistics before each validation in search, and when the widths freeze.

    The running statistics of a network whose sizes change lag behind, and those gathered under noise do not
    fit the network without noise. The latest training batches are kept for it; the network runs on them as in
    evaluation, and only the BatchNorm layers take the batches' statistics, averaged over all of them.

    Args:
        batches: how many training batches.
    """

    def __init__(self, batches: int = 16) -> None:
        whole(1, batches=batches)
        self.batches = batches
        self._recent: deque[Any] = deque(maxlen=batches)
        self._done = False

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if isinstance(pl_module, DynamicModule) and pl_module.is_dynamic and not self._done:
            self._recent.append(pl_module.task.input_of(batch))

    @property
    def recent_inputs(self) -> list[Any]:
        """The inputs that are kept; none once the sizes are final."""
        return list(self._recent)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._update(trainer, pl_module)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._update(trainer, pl_module)

    def _update(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not isinstance(pl_module, DynamicModule) or pl_module.phase == "warmup" or self._done:
            return
        if self._recent:
            with trainer.precision_plugin.val_step_context():
                reestimate(pl_module.network, list(self._recent))
            for layer in batch_norms(pl_module.network):
                for statistics in (layer.running_mean, layer.running_var):
                    statistics.copy_(trainer.strategy.reduce(statistics.clone(), reduce_op="mean"))
        if pl_module.phase == "settle":
            self._done = True
            self._recent.clear()

    def state_dict(self) -> dict[str, Any]:
        return {"done": self._done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._done = state_dict["done"]
