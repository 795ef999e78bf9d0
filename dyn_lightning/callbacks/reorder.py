"""Ranks the elements of every width when the search begins."""

from __future__ import annotations

from itertools import islice
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback

from dyn_lightning.checks import whole
from dyn_lightning.module import DynamicModule
from dyn_lightning.module.artifact import as_call
from dyn_lightning.module.batches import training_batches
from dyn_lightning.network.curvature import importance_by_curvature
from dyn_lightning.network.reorder import importance, reorder
from dyn_lightning.tasks import Imitation


class Reorder(Callback):
    """Puts the least important element of every width last, before the first step of the search.

    Only the last element is ever given up, and the gradient of λ is that of the last element: where that is one that
    the network cannot do without, its width never shrinks.

    What an element is worth is the Fisher information of a gate on it in the task's loss; for a task that imitates a
    teacher it is the curvature of the distance from it, as there the loss of a network at full size is zero.

    Args:
        batches: training batches on which importance is measured.
        every: steps of the search after which the elements still in use are ranked anew; None: once is enough.

    Raises:
        SettingError: if ``batches`` or ``every`` is not positive.
    """

    def __init__(self, batches: int = 8, every: int | None = None) -> None:
        whole(1, batches=batches, every=every)
        self.batches, self.every = batches, every
        self.done = False
        self._last = 0

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not isinstance(pl_module, DynamicModule) or pl_module.phase != "search":
            return
        due = self.every is not None and trainer.global_step - self._last >= self.every
        if self.done and not due:
            return
        self.done, self._last = True, trainer.global_step
        module = pl_module
        for width in module.widths.values():
            width.set_learning(False)
        scores = self._scores(trainer, module)
        for name, score in scores.items():
            scores[name] = trainer.strategy.reduce(score, reduce_op="sum")  # type: ignore[assignment]
        reorder(module.learned[0], scores, trainer.optimizers[0], also=module.task)
        module.averages.begin_anew()
        for width in module.widths.values():
            width.set_learning(True)

    def _scores(self, trainer: lightning.Trainer, module: DynamicModule) -> dict[str, torch.Tensor]:
        chosen = islice(training_batches(trainer), self.batches)
        task, context = module.task, trainer.precision_plugin.train_step_context
        if isinstance(task, Imitation):
            with context():
                inputs = (as_call(task.input_of(batch)) for batch in chosen)
                return importance_by_curvature(module.learned[0], inputs, task.pull)

        def loss_of(batch: Any) -> torch.Tensor:
            with context():
                return task.loss(module.network(task.input_of(batch)), batch)

        scores = importance(module.learned[0], (lambda b=b: loss_of(b) for b in chosen))  # type: ignore[misc]
        return scores

    def state_dict(self) -> dict[str, object]:
        return {"done": self.done, "last": self._last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.done = state_dict["done"]
        self._last = state_dict.get("last", 0)
