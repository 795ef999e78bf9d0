"""What the voice-activity study compares: one network, made small in several ways, at equal cost and equal training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import Callback

from dyn_lightning.callbacks import Reorder
from dyn_lightning.complexity import Complexity
from dyn_lightning.dynamize import dynamize
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import FlopsBudget, LambdaSquared, Objective
from dyn_lightning.tasks import FrameDetection
from experiments.shrink_only import ShrinkOnly

SAMPLE_RATE = 16000
LR_LAM = 0.03
LR_HOLD = 0.5
BUDGETS = {"25": 0.25, "6.25": 0.0625}
"""Shares of the learnable FLOPs/s of CRNNVAD at full size, by the name that tables give them."""


PAPER: dict[str, Any] = {"dynamic": ["mel"], "mel_spacing": "respaced"}


@dataclass(frozen=True)
class System:
    """One row of the study.

    Attributes:
        name: of the row, and of its folder.
        settles: whether the widths are final before the end, so that validation chooses the checkpoint.
        control: shown apart from the systems that the study is about.
        backbone: arguments of CRNNVAD.
        share: budget, as a share of the learnable FLOPs/s.
        lam_min: least λ; one unit when absent.
        options: arguments of DynamicModule.
        cut_task_gradient: sizes hear of the budget alone.
    """

    name: str
    settles: bool = True
    control: bool = False
    backbone: dict[str, int] = field(default_factory=dict)
    share: float | None = None
    lam_min: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    cut_task_gradient: bool = False

    @property
    def learns(self) -> bool:
        """Whether any size is learned."""
        return self.options.get("dynamic") != []

    def callbacks(self) -> list[Callback]:
        """Ranks the elements when the search begins; the paper does not."""
        return [Reorder()] if self.learns and self.settles else []

    def objective(self) -> Objective | None:
        """What pulls the sizes down."""
        if not self.learns:
            return None
        return LambdaSquared(0.5) if self.share is None else FlopsBudget(share=self.share)

    def module(self, lr: float) -> DynamicModule:
        """The system ready to be trained."""
        kind = ShrinkOnly if self.cut_task_gradient else DynamicModule
        return kind(
            CRNNVAD(**self.backbone),
            FrameDetection(),
            self.objective(),
            lr=lr,
            lr_lam=LR_LAM,
            lr_hold=LR_HOLD,
            **self.options,
        )


def full_complexity() -> Complexity:
    """Cost of CRNNVAD as a function of all its sizes."""
    complexity: Complexity = dynamize(CRNNVAD(), torch.zeros(1, SAMPLE_RATE), duration_s=1.0).complexity
    return complexity


def uniform_sizes(share: float) -> dict[str, int]:
    """Bands, channels and hidden units of CRNNVAD, all narrower by one factor, at a share of its learnable FLOPs/s.

    Of all hidden sizes h, with bands and channels rounded to 80·h/256, the one whose cost lies nearest to the budget.
    """
    cost = full_complexity()
    budget = cost.fixed_flops() + share * cost.learnable_flops()

    def sizes(h: int) -> dict[str, int]:
        narrow = max(1, round(80 * h / 256))
        return {"mel": narrow, "conv": narrow, "gru-l0": h, "gru-l1": h}

    h = min(range(1, 257), key=lambda n: abs(cost.flops_at(sizes(n)) - budget))
    return {"n_mels": sizes(h)["mel"], "channels": sizes(h)["conv"], "hidden_size": h}


def all_systems() -> list[System]:
    """The study's systems, the indispensable ones first."""
    rows = [System("full", options={"dynamic": []})]
    for label, share in BUDGETS.items():
        rows.append(System(f"learned {label} %", share=share))
        rows.append(System(f"uniform {label} %", backbone=uniform_sizes(share), options={"dynamic": []}))
    rows.append(System("paper, bands, β 0.5", settles=False, lam_min=0.25, options=PAPER))
    for label, share in reversed(BUDGETS.items()):
        rows.append(System(f"shrink only {label} %", control=True, share=share, cut_task_gradient=True))
    rows.append(System("attenuation 6.25 %", control=True, share=0.0625, options={"boundary": "attenuation"}))
    return rows
