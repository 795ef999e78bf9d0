"""The objective that shrinks as far as the loss allows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dyn_lightning.checks import ascending, at_least, positive, proper_share
from dyn_lightning.costs.allocation import learnable_share
from dyn_lightning.errors import SettingError
from dyn_lightning.network.dynamic import DynamicNetwork
from dyn_lightning.objectives.base import Objective

ROUNDING = 0.01
"""Share of a unit by which K may stand above an integer and still count as that integer."""


class LossTolerance(Objective):
    """Shrinks as far as the task loss allows: no weight to tune, and no size or cost to name.

    ``penalty = μ · L₀ · log(learnable FLOPs)``, L₀ being the loss of the first step. μ grows while the running task
    loss stays under its best value so far plus a tolerance, and falls as soon as it does not, so that the size comes
    to rest where the next element would cost more than the tolerance. Sizes freeze at ⌈K⌉: the loss was tolerable
    with the boundary unit at work, so it is kept.

    Args:
        tolerance: loss that may be given up for size, as a share of what training has gained (L₀ − best).
        rate: largest relative change of μ in a step, 0 or more.
        memory: of the running loss, per step, in [0, 1).
        weight_min, weight_max: limits of μ, positive.
    """

    first_loss: Tensor
    running_loss: Tensor
    best_loss: Tensor
    log_weight: Tensor

    def __init__(
        self,
        tolerance: float = 0.01,
        *,
        rate: float = 0.1,
        memory: float = 0.95,
        weight_min: float = 1e-3,
        weight_max: float = 10.0,
    ) -> None:
        super().__init__()
        proper_share(tolerance=tolerance)
        at_least(0.0, rate=rate)
        if not 0.0 <= memory < 1.0:
            raise SettingError(f"memory must lie in [0, 1), got {memory}")
        positive(weight_min=weight_min, weight_max=weight_max)
        ascending(weight_min=weight_min, weight_max=weight_max)
        self.tolerance = tolerance
        self.rate = rate
        self.memory = memory
        self.limits = (math.log(weight_min), math.log(weight_max))
        self.register_buffer("first_loss", torch.tensor(math.nan))
        self.register_buffer("running_loss", torch.tensor(math.nan))
        self.register_buffer("best_loss", torch.tensor(math.inf))
        self.register_buffer("log_weight", torch.tensor(self.limits[0]))

    @torch.no_grad()
    def observe(self, task_loss: Tensor) -> None:
        sound = task_loss.isfinite()
        self.first_loss.copy_(torch.where(self.first_loss.isnan() & sound, task_loss, self.first_loss))
        before = torch.where(self.running_loss.isnan(), task_loss, self.running_loss)
        running = self.memory * before + (1 - self.memory) * task_loss
        self.running_loss.copy_(torch.where(sound, running, self.running_loss))

    def forward(self, dynamic: DynamicNetwork, task_loss: Tensor, progress: float) -> Tensor:
        with torch.no_grad():
            known = self.running_loss.isfinite()  # not before the first finite loss
            self.best_loss.copy_(torch.where(known, torch.minimum(self.best_loss, self.running_loss), self.best_loss))
            slack = self.tolerance * (self.first_loss - self.best_loss).clamp(min=1e-12)
            room = ((self.best_loss + slack - self.running_loss) / slack).clamp(-1.0, 1.0)
            self.log_weight.add_(torch.where(known & task_loss.isfinite(), self.rate * room, 0.0)).clamp_(*self.limits)
            weight = torch.where(known, self.log_weight.exp() * self.first_loss.abs(), 0.0)
        return weight * learnable_share(dynamic.complexity).log()

    def final_sizes(self, dynamic: DynamicNetwork) -> dict[str, int]:
        sizes = {}
        for name, width in dynamic.widths.items():
            units = math.ceil(float(width.k.detach()) / width.multiple_of - ROUNDING)
            sizes[name] = min(max(1, units) * width.multiple_of, width.full_size)
        return sizes
