"""Ranks the elements of every width when the search begins."""

from __future__ import annotations

from itertools import islice
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback

from dyn_lightning.checks import whole
from dyn_lightning.module import DynamicModule
from dyn_lightning.module.batches import training_batches
from dyn_lightning.network.reorder import importance, reorder


class Reorder(Callback):
    """Puts the least important element of every width last, once, before the first step of the search.

    Only the last element is ever given up, and the gradient of λ is that of the last element: where that is one that
    the network cannot do without, its width never shrinks.

    Args:
        batches: training batches on which importance is measured.

    Raises:
        ValueError: if ``batches`` is not positive.
    """

    def __init__(self, batches: int = 8) -> None:
        whole(1, batches=batches)
        self.batches = batches
        self.done = False

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.done or not isinstance(pl_module, DynamicModule) or pl_module.phase != "search":
            return
        self.done = True
        module = pl_module
        for width in module.widths.values():
            width.set_learning(False)

        def loss_of(batch: Any) -> torch.Tensor:
            with trainer.precision_plugin.train_step_context():
                return module.task.loss(module.network(module.task.input_of(batch)), batch)

        chosen = islice(training_batches(trainer), self.batches)
        scores = importance(module.learned[0], (lambda b=b: loss_of(b) for b in chosen))  # type: ignore[misc]
        for name, score in scores.items():
            scores[name] = trainer.strategy.reduce(score, reduce_op="sum")  # type: ignore[assignment]
        reorder(module.learned[0], scores, trainer.optimizers[0])
        module.averages.begin_anew()
        for width in module.widths.values():
            width.set_learning(True)

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.done = state_dict["done"]
