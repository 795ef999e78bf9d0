"""What the voice-activity study compares: a network made small in several ways, at equal cost and equal training."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import torch
from lightning.pytorch import Callback
from torch import nn

from dyn_lightning.callbacks import Reorder
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.dynamize import dynamize
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.models.tr_vad import TrVAD
from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import FlopsBudget, LambdaSquared, Objective
from dyn_lightning.tasks import FrameDetection
from experiments.shrink_only import ShrinkOnly
from experiments.training import narrow_lr

SAMPLE_RATE = 16000
LR_LAM = 0.03
LR_HOLD = 0.5
BUDGETS = {"25": 0.25, "6.25": 0.0625}
"""Shares of the learnable FLOPs/s of a network at full size, by the name that tables give them."""
LAM_MINS = (0.5, 0.25, 0.125, 0.0625)
Network = Literal["CRNNVAD", "TrVAD"]
NETWORKS: dict[Network, type[nn.Module]] = {"CRNNVAD": CRNNVAD, "TrVAD": TrVAD}
PAPER: dict[Network, dict[str, Any]] = {
    "CRNNVAD": {"dynamic": ["mel"], "mel_spacing": "respaced"},
    # The published counts of DTrVAD are those of TrVAD with as many bands: all of its sizes are the bands.
    "TrVAD": {"ties": [["mel", "conv", "blocks.*"]], "mel_spacing": "respaced"},
}
"""What is learned where the bands alone are: arguments of DynamicModule."""


@dataclass(frozen=True)
class System:
    """One row of the study.

    Attributes:
        name: of the row, and of its folder.
        settles: whether the widths are final before the end, so that validation chooses the checkpoint.
        control: shown apart from the systems that the study is about.
        network: that is made small.
        backbone: arguments of the network.
        share: budget, as a share of the learnable FLOPs/s.
        lam_min: least λ; one unit when absent.
        options: arguments of DynamicModule.
        cut_task_gradient: sizes hear of the budget alone.
    """

    name: str
    settles: bool = True
    control: bool = False
    network: Network = "CRNNVAD"
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

    def plain(self) -> nn.Module:
        """The network before anything is learned."""
        return NETWORKS[self.network](**self.backbone)

    def module(self, lr: float, lr_growth: float = 0.0) -> DynamicModule:
        """The system ready to be trained, at a learning rate that grows as it narrows, but for the paper's."""
        kind = ShrinkOnly if self.cut_task_gradient else DynamicModule
        if self.backbone:
            lr = narrow_lr(lr, lr_growth, full_complexity(self.network), self.plain(), torch.zeros(1, SAMPLE_RATE))
        return kind(
            self.plain(),
            FrameDetection(),
            self.objective(),
            lr=lr,
            lr_growth=0.0 if self.share is None else lr_growth,
            lr_lam=LR_LAM,
            lr_hold=LR_HOLD,
            **self.options,
        )


@cache
@torch.random.fork_rng()  # a run's numbers do not depend on what ran before it
def full_complexity(network: Network = "CRNNVAD") -> Complexity:
    """Cost of a network as a function of all its sizes."""
    complexity: Complexity = dynamize(NETWORKS[network](), torch.zeros(1, SAMPLE_RATE), duration_s=1.0).complexity
    return complexity


@cache
def uniform_sizes(share: float, network: Network = "CRNNVAD") -> dict[str, int]:
    """Arguments of a network whose sizes are all narrower by one factor, at a share of its learnable FLOPs/s.

    CRNNVAD: of all hidden sizes h, with bands and channels rounded to 80·h/256, the one whose cost lies nearest to the
    budget. TrVAD, whose sizes are all its bands: the bands whose cost does.
    """
    cost = full_complexity(network)
    budget = cost.fixed_flops() + share * cost.learnable_flops()

    def sizes(n: int) -> dict[str, int]:
        if network == "TrVAD":
            return dict.fromkeys(cost.full_sizes, n)
        narrow = max(1, round(80 * n / 256))
        return {"mel": narrow, "conv": narrow, "gru-l0": n, "gru-l1": n}

    n = min(range(1, max(cost.full_sizes.values()) + 1), key=lambda n: abs(cost.flops_at(sizes(n)) - budget))
    if network == "TrVAD":
        return {"n_mels": n}
    return {"n_mels": sizes(n)["mel"], "channels": sizes(n)["conv"], "hidden_size": n}


def systems_of(network: Network) -> list[System]:
    """The systems of one network: at full size, under budgets, and with its bands alone learned, as published."""
    prefix = "" if network == "CRNNVAD" else f"{network}, "
    rows = [System(f"{prefix}full", network=network, options={"dynamic": []})]
    for label, share in BUDGETS.items():
        sizes = uniform_sizes(share, network)
        rows.append(System(f"{prefix}learned {label} %", network=network, share=share))
        rows.append(System(f"{prefix}uniform {label} %", network=network, backbone=sizes, options={"dynamic": []}))
    for lam_min in LAM_MINS:
        rows.append(
            System(
                f"{prefix}{paper_name(network, lam_min)}",
                settles=False,
                network=network,
                lam_min=lam_min,
                options=PAPER[network],
            )
        )
    return rows


def paper_name(network: Network, lam_min: float) -> str:
    """Of a system with learned bands; the first that was run is called by its β."""
    return "paper, bands, β 0.5" if (network, lam_min) == ("CRNNVAD", 0.25) else f"paper, bands, λ ≥ {lam_min}"


def all_systems() -> list[System]:
    """The study's systems, controls last."""
    rows = [*systems_of("CRNNVAD"), *systems_of("TrVAD")]
    for label, share in reversed(BUDGETS.items()):
        rows.append(System(f"shrink only {label} %", control=True, share=share, cut_task_gradient=True))
    rows.append(System("attenuation 6.25 %", control=True, share=0.0625, options={"boundary": "attenuation"}))
    return rows
