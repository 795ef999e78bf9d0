"""What the study on images compares: one network, made small in two ways, at equal cost and equal training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

from dyn_lightning.callbacks import Reorder
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.dynamize import dynamize
from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import FlopsBudget, Objective
from dyn_lightning.tasks import Classification
from experiments.digits.data import N_CLASSES
from experiments.training import narrow_lr

IMAGE_SHAPE = (1, 1, 8, 8)
CHANNELS = (32, 64)
LR_LAM = 0.03
LR_HOLD = 0.5
BUDGETS = {"25": 0.25, "6.25": 0.0625}
"""Shares of all FLOPs of the network at full size, by the name that tables give them."""
Kind = Literal["full", "learned", "uniform"]


class ConvNet(nn.Module):
    """Two 3×3 convolutions, each with ReLU and 2×2 pooling, and a linear layer: (batch, 1, 8, 8) → logits (batch, 10).

    Args:
        channels: of both convolutions.
    """

    def __init__(self, channels: tuple[int, int] = CHANNELS) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels[0], 3, padding=1)
        self.conv2 = nn.Conv2d(channels[0], channels[1], 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.linear = nn.Linear(4 * channels[1], N_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        return self.linear(x.flatten(1))


@dataclass(frozen=True)
class System:
    """One row of the study.

    Attributes:
        name: of the row, and of its folder.
        kind: the family that it belongs to.
        channels: of the network that is trained.
        share: budget, as a share of all FLOPs at full size.
    """

    name: str
    kind: Kind
    channels: tuple[int, int] = CHANNELS
    share: float | None = None
    settles: ClassVar[bool] = True
    lam_min: ClassVar[float | None] = None

    def callbacks(self) -> list[Callback]:
        """Ranks the elements when the search begins; a plain network has none to rank."""
        return [Reorder()] if self.kind == "learned" else []

    def objective(self) -> Objective | None:
        """What pulls the sizes down."""
        if self.kind != "learned":
            return None
        assert self.share is not None
        return FlopsBudget(flops_per_second=self.share * full_complexity().flops_full_size())

    def module(self, lr: float, lr_growth: float = 0.0) -> DynamicModule:
        """The system ready to be trained, at a learning rate that grows as it narrows; its FLOPs are of one image."""
        backbone = ConvNet(self.channels)
        if self.kind == "uniform":
            lr = narrow_lr(lr, lr_growth, full_complexity(), backbone, torch.zeros(IMAGE_SHAPE))
        return DynamicModule(
            backbone,
            Classification("input"),
            self.objective(),
            dynamic=None if self.kind == "learned" else [],
            example_duration_s=None,
            example_shape=list(IMAGE_SHAPE),
            lr=lr,
            lr_growth=lr_growth if self.kind == "learned" else 0.0,
            lr_lam=LR_LAM,
            lr_hold=LR_HOLD,
        )


@cache
@torch.random.fork_rng()  # a run's numbers do not depend on what ran before it
def full_complexity() -> Complexity:
    """Cost of the network, per image, as a function of its sizes."""
    complexity: Complexity = dynamize(ConvNet(), torch.zeros(IMAGE_SHAPE)).complexity
    return complexity


def uniform_channels(share: float) -> tuple[int, int]:
    """Channels of both convolutions, narrower by one factor, at the cost nearest to a share of all FLOPs.

    Of the factors 1/256, 2/256, …, with channels rounded; of several, the greatest.
    """
    cost = full_complexity()
    budget = share * cost.flops_full_size()
    narrower = [(max(1, round(CHANNELS[0] * n / 256)), max(1, round(CHANNELS[1] * n / 256))) for n in range(256, 0, -1)]
    return min(narrower, key=lambda c: abs(cost.flops_at({"conv1": c[0], "conv2": c[1]}) - budget))


def all_systems() -> list[System]:
    """The study's systems."""
    rows = [System("full", "full")]
    for label, share in BUDGETS.items():
        rows.append(System(f"learned {label} %", "learned", share=share))
        rows.append(System(f"uniform {label} %", "uniform", uniform_channels(share), share))
    return rows
