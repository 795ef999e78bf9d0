"""The control of the studies: sizes that shrink on schedule and hear nothing of the task."""

from __future__ import annotations

import torch
from torch import Tensor

from dyn_lightning.module import DynamicModule


class ShrinkOnly(DynamicModule):
    """Shrinks by the same schedule, but no size hears of the task: what gradual shrinking alone is worth."""

    _penalty_gradients: list[Tensor]

    def penalty(self, task_loss: Tensor) -> Tensor:
        penalty = super().penalty(task_loss)
        thetas = [width.theta for width in self.widths.values()]
        self._penalty_gradients = list(torch.autograd.grad(penalty, thetas, retain_graph=True))
        return penalty

    def on_after_backward(self) -> None:
        if self.phase == "search":
            for width, gradient in zip(self.widths.values(), self._penalty_gradients, strict=True):
                width.theta.grad = gradient
