"""What the anti-spoofing study compares: one residual network, made small in several ways, at equal training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any, Literal

import torch
from lightning.pytorch import Callback

from dyn_lightning.callbacks import Reorder
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.dynamize import dynamize
from dyn_lightning.features.front_ends import Normalisation
from dyn_lightning.models.spoof_resnet import SpoofResNet
from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import FlopsBudget, LambdaSquared, Objective
from dyn_lightning.tasks import SpoofDetection
from experiments.training import LR_GROWTH, narrow_lr

SAMPLE_RATE = 16000
LR_LAM = 0.03
LR_HOLD = 0.5
BETA = 1.0
BUDGETS = {"50": 0.5, "25": 0.25, "12.5": 0.125, "6.25": 0.0625}
"""Shares of all FLOPs/s of the network at full size, by the name that tables give them."""
LAM_MINS = (0.5, 0.25, 0.125, 0.0625)
LAM_MINS_ALONE = {"full": LAM_MINS, "mini": (0.25, 0.0625)}
"""Least λ of the paper's setting where one stack alone is dynamic, by preset."""
STACKS: dict[str, list[str]] = {
    **{f"stack {i}": [f"resnet.stacks.{i}.*"] for i in range(4)},
    "all stacks": ["resnet.stacks.*"],
}
Kind = Literal["full", "learned", "uniform", "paper"]


@dataclass(frozen=True)
class Settings:
    """What must be the same for runs to be compared; all of it is in their records."""

    channels: tuple[int, ...] = (32, 64, 128, 256)
    embedding_size: int = 256
    n_samples: int = SAMPLE_RATE
    normalisation: Normalisation = "fixed"
    freq_mask: int = 12
    time_mask: int = 20
    bonafide_weight: float = 0.9
    spoof_weight: float = 0.1
    epochs: int = 24
    batch_size: int = 32
    lr: float = 1e-3
    lr_growth: float = LR_GROWTH
    search_share: float = 0.125

    def as_json(self) -> dict[str, Any]:
        """As records hold them."""
        return {**asdict(self), "channels": list(self.channels)}

    def backbone(self, **sizes: Any) -> SpoofResNet:
        """The network, with other channels and embedding where given."""
        sizes = {"channels": self.channels, "embedding_size": self.embedding_size, **sizes}
        return SpoofResNet(
            normalisation=self.normalisation, freq_mask=self.freq_mask, time_mask=self.time_mask, **sizes
        )


PRESETS: dict[str, Settings] = {
    # A corpus of 25,000 utterances, nine spoofs to a bona fide one.
    "full": Settings(),
    # A corpus of a few hundred utterances on two cores. An eighth of its few steps is too short a search: log λ has
    # 1.4 to go for a sixteenth of the FLOPs, 0.03 a step at most.
    "mini": Settings(
        channels=(8, 16, 32, 64),
        embedding_size=64,
        bonafide_weight=1.0,
        spoof_weight=1.0,
        epochs=32,
        search_share=0.25,
    ),
}
SEEDS = {"full": [0, 1, 2, 3, 4], "mini": [0]}


@dataclass(frozen=True)
class System:
    """One row of the study.

    Attributes:
        name: of the row, and of its folder.
        kind: the family that it belongs to.
        sizes: arguments of the network, where it is built smaller.
        share: budget, as a share of all FLOPs/s at full size.
        dynamic: patterns of the layers whose sizes are learned; None for all.
        lam_min: least λ; one unit when absent.
    """

    name: str
    kind: Kind
    sizes: dict[str, Any] = field(default_factory=dict)
    share: float | None = None
    dynamic: list[str] | None = None
    lam_min: float | None = None

    @property
    def settles(self) -> bool:
        """Whether the sizes are final before the end; the paper has no such phase."""
        return self.kind != "paper"

    def callbacks(self) -> list[Callback]:
        """Ranks the elements when the search begins; the paper does not."""
        return [Reorder()] if self.kind == "learned" else []

    def objective(self, settings: Settings) -> Objective | None:
        """What pulls the sizes down."""
        if self.kind == "learned":
            assert self.share is not None
            return FlopsBudget(flops_per_second=self.share * full_complexity(settings).flops_full_size())
        return LambdaSquared(BETA) if self.kind == "paper" else None

    def module(self, settings: Settings) -> DynamicModule:
        """The system ready to be trained, at a learning rate that grows as it narrows, but for the paper's."""
        backbone, duration_s = settings.backbone(**self.sizes), settings.n_samples / SAMPLE_RATE
        lr = settings.lr
        if self.kind == "uniform":
            example = torch.zeros(1, settings.n_samples)
            lr = narrow_lr(lr, settings.lr_growth, full_complexity(settings), backbone, example)
        return DynamicModule(
            backbone,
            SpoofDetection(spoof_weight=settings.spoof_weight, bonafide_weight=settings.bonafide_weight),
            self.objective(settings),
            dynamic=self.dynamic,
            example_duration_s=duration_s,
            lr=lr,
            lr_growth=settings.lr_growth if self.kind == "learned" else 0.0,
            lr_lam=LR_LAM,
            lr_hold=LR_HOLD,
        )


@cache
@torch.random.fork_rng()  # a run's numbers do not depend on what ran before it
def full_complexity(settings: Settings) -> Complexity:
    """Cost of the network as a function of all its sizes."""
    duration_s = settings.n_samples / SAMPLE_RATE
    example = torch.zeros(1, settings.n_samples)
    complexity: Complexity = dynamize(settings.backbone(), example, duration_s=duration_s).complexity
    return complexity


@cache
def uniform_sizes(settings: Settings, share: float) -> dict[str, Any]:
    """Channels and embedding of the network, all narrower by one factor, at a share of its FLOPs/s at full size.

    Of the factors 1/256, 2/256, …, with sizes rounded, the one whose cost lies nearest to the budget; of several, the
    greatest.
    """
    cost = full_complexity(settings)
    budget = share * cost.flops_full_size()

    def sizes(n: int) -> dict[str, Any]:
        channels = tuple(max(1, round(c * n / 256)) for c in settings.channels)
        return {"channels": channels, "embedding_size": max(1, round(settings.embedding_size * n / 256))}

    def flops(n: int) -> float:
        found = sizes(n)
        return float(cost.flops_at({name: _size_in(name, found) for name in cost.full_sizes}))

    return sizes(min(range(256, 0, -1), key=lambda n: abs(flops(n) - budget)))


def _size_in(width: str, sizes: dict[str, Any]) -> int:
    """The number of elements that a learned size has in a network of given channels and embedding."""
    if width == "resnet-embedding":
        return int(sizes["embedding_size"])
    stack = 0 if width == "resnet-stem" else int(width.split("-")[2])
    return int(sizes["channels"][stack])


def all_systems(settings: Settings, lam_mins_alone: Sequence[float] = LAM_MINS) -> list[System]:
    """The study's systems, the indispensable ones first; ``lam_mins_alone``: of the paper's single stacks."""
    rows = [System("full", "full", dynamic=[])]
    for label, share in reversed(BUDGETS.items()):
        rows.append(System(f"learned {label} %", "learned", share=share))
        rows.append(
            System(f"uniform {label} %", "uniform", sizes=uniform_sizes(settings, share), share=share, dynamic=[])
        )
    for stacks, patterns in reversed(STACKS.items()):
        for lam_min in LAM_MINS if stacks == "all stacks" else lam_mins_alone:
            rows.append(System(f"paper, {stacks}, λ ≥ {lam_min}", "paper", dynamic=patterns, lam_min=lam_min))
    return rows


def changed(settings: Settings, **changes: Any) -> Settings:
    """Settings with those changed that are not None."""
    return replace(settings, **{name: value for name, value in changes.items() if value is not None})
