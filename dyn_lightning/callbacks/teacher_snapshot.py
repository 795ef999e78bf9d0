"""Keeps the full-size network of the warm-up as a teacher."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch import Callback
from torch import nn

from dyn_lightning.module import DynamicModule
from dyn_lightning.network.dynamic import DynamicNetwork, plain_copy
from dyn_lightning.tasks.distillation import Distillation


class TeacherSnapshot(Callback):
    """Gives the task ``Distillation`` the network as it is when the search begins, at full size.

    Stands before ``Reorder`` in the list of callbacks or after it: what the network computes is the same. Part of the
    run's checkpoints.

    Raises:
        TypeError: at the start of a fit, for a task that learns from no teacher, or a network without learned sizes.
    """

    def __init__(self) -> None:
        self._weights: dict[str, object] | None = None
        self._plain: nn.Module | None = None

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        module = pl_module
        if not isinstance(module, DynamicModule) or not isinstance(module.network, DynamicNetwork):
            raise TypeError("TeacherSnapshot keeps the full size of a network that has sizes to learn: give it dynamic")
        if not isinstance(module.task, Distillation):
            raise TypeError(
                f"TeacherSnapshot wants a task that learns from a teacher: wrap {type(module.task).__name__} "
                "in Distillation"
            )
        self._plain = plain_copy(module.network)

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, DynamicModule)
        assert self._plain is not None
        if self._weights is None and pl_module.phase == "search":
            self._weights = plain_copy(pl_module.learned[0]).state_dict()
        task = pl_module.task
        assert isinstance(task, Distillation)
        if self._weights is not None and not task.has_teacher:
            self._plain.load_state_dict(self._weights)
            task.set_teacher(self._plain)

    def state_dict(self) -> dict[str, object]:
        return {"weights": self._weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._weights = state_dict["weights"]
