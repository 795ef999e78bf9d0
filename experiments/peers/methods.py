"""Every method that is compared, by name: how a network comes to its size, given a bench and a budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from lightning.pytorch import Callback
from torch import nn

from dyn_lightning.callbacks import Reorder, TeacherSnapshot
from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import FlopsBudget, LambdaSquared, Objective
from dyn_lightning.tasks import Distillation, Task
from dyn_lightning.widths.width import Width
from experiments.peers.benches import Bench, complexity_of
from experiments.peers.fresh import fresh_network, random_sizes
from experiments.peers.gates import GatedWidth, GaussianGates, HardConcreteGates
from experiments.peers.linear import make_linear
from experiments.peers.ranking import OneShot, RankByMagnitude
from experiments.peers.torch_pruning import pruned_to
from experiments.shrink_only import ShrinkOnly
from experiments.training import LR_GROWTH, WARMUP_SHARE

Kind = Literal["core", "peer", "trained", "ablation"]
BUDGETS = ("6.25", "25", "50", "12.5", "2")
"""Shares in percent, in the order of their value."""
CORE_BUDGETS = BUDGETS[:2]
OURS, OURS_TRAINED = "growing", "from full"
TRIALS = 3
"""Networks of random sizes that are trained for one of ours: its search costs about as much."""

GATES: dict[str, Any] = {"callbacks": [], "lam_pace": 3.0, "search_share": 0.5}
"""Gates are many and close in no order: more time, a faster rate. By validation, on voice activity at 6.25 %."""


@dataclass
class Plan:
    """A run that is about to begin.

    Attributes:
        module: to train.
        callbacks: beside those that every run has.
        warmup_share, search_share: of the epochs.
        settles: whether sizes are final before the end of the run.
        lam_min: least λ.
        multiple_of: elements that a size gives up together.
    """

    module: DynamicModule
    callbacks: list[Callback] = field(default_factory=list)
    warmup_share: float = WARMUP_SHARE
    search_share: float = 0.125
    settles: bool = True
    lam_min: float | None = None
    multiple_of: int | None = None


@dataclass(frozen=True)
class Given:
    """What a method may use.

    Attributes:
        bench: task, network and training.
        share: of the FLOPs, which is the budget; 1 where none is asked for.
        seed: of the run.
        teacher: makes the full network of this seed, trained.
    """

    bench: Bench
    share: float
    seed: int
    teacher: Callable[[], nn.Module]

    @property
    def budget(self) -> float:
        return self.bench.budget(self.share)

    def plan(
        self,
        backbone: nn.Module | None = None,
        objective: Objective | None = None,
        *,
        kind: type[DynamicModule] = DynamicModule,
        task: Task | None = None,
        boundary: str = "taper",
        width_class: type[Width] = Width,
        lr_growth: float = 0.0,
        lam_pace: float = 1.0,
        **options: Any,
    ) -> Plan:
        """A run of the bench's; of a network as it is where nothing pulls its sizes down.

        Args:
            backbone, objective, kind, task, boundary, width_class, lr_growth: of the module.
            lam_pace: λ's learning rate in the bench's.
            options: of the plan.
        """
        bench = self.bench
        module = kind(
            backbone or bench.backbone(),
            task or bench.task(),
            objective,
            dynamic=[] if objective is None else None,
            boundary=boundary,
            width_class=width_class,
            example_duration_s=bench.duration_s,
            lr=bench.lr,
            lr_lam=lam_pace * bench.lr_lam,
            lr_hold=bench.lr_hold,
            lr_growth=lr_growth,
        )
        return Plan(module, **{"search_share": bench.search_share, **options})

    def ours(
        self, backbone: nn.Module | None = None, *, callbacks: list[Callback] | None = None, **options: Any
    ) -> Plan:
        """Learned sizes by a budget of FLOPs, as we would have them but for what is given."""
        objective = options.pop("objective", None) or FlopsBudget(flops_per_second=self.budget)
        options = {"callbacks": [Reorder()] if callbacks is None else callbacks, "lr_growth": LR_GROWTH, **options}
        return self.plan(backbone, objective, **options)


def _paper(given: Given) -> Plan:
    objective = LambdaSquared(given.bench.beta)
    plan = given.plan(None, objective, boundary="paper", settles=False, lam_min=0.0625)
    make_linear(plan.module.widths.values())
    return plan


def _random(given: Given) -> Plan:
    cost = complexity_of(given.bench)
    sizes = random_sizes(cost, given.budget, torch.Generator().manual_seed(given.seed))
    backbone = given.bench.backbone()
    example = torch.zeros(1, round(given.bench.duration_s * backbone.sample_rate))  # type: ignore[operator,arg-type]
    return given.plan(fresh_network(backbone, example, sizes))


def _magnitude(given: Given, backbone: nn.Module | None = None, warmup_share: float = 0.5) -> Plan:
    objective = OneShot(flops_per_second=given.budget)
    return given.ours(backbone, objective=objective, callbacks=[RankByMagnitude()], warmup_share=warmup_share)


def _distilled(given: Given) -> Plan:
    task = Distillation(given.bench.task(), given.teacher())
    return given.plan(given.bench.narrower(given.share), task=task)


def _torch_pruning(given: Given) -> Plan:
    full = given.teacher()
    example = torch.randn(2, round(given.bench.duration_s * full.sample_rate))  # type: ignore[operator,arg-type]
    return given.plan(pruned_to(full, example, given.budget, given.bench.duration_s))


def _gated(kind: type[GatedWidth]) -> Callable[[Given], Plan]:
    return lambda given: given.ours(width_class=kind, **GATES)


def _linear(given: Given) -> Plan:
    plan = given.ours()
    make_linear(plan.module.widths.values())
    return plan


def _taught(given: Given) -> Plan:
    return given.ours(task=Distillation(given.bench.task()), callbacks=[Reorder(), TeacherSnapshot()])


@dataclass(frozen=True)
class Method:
    """One method.

    Attributes:
        title: its name in tables.
        kind: "core", "peer" (what else a user might do), "trained" (which begins with the trained full network of its
            seed) or "ablation" (``growing``, ours, with one thing changed).
        plan: makes a run of it.
        budgeted: whether it is told a budget; otherwise it has one row.
        trials: runs, of which validation chooses one.
        benches: on which it can meet a budget.
        lr_of: the method whose learning rate it is trained with; its own, tuned as all are, when absent.
    """

    title: str
    kind: Kind
    plan: Callable[[Given], Plan]
    budgeted: bool = True
    trials: int = 1
    benches: tuple[str, ...] = ("vad", "antispoofing", "vad_transformer")
    lr_of: str | None = None

    @property
    def has_teacher(self) -> bool:
        """Whether the full network has to be trained first."""
        return self.kind == "trained"

    @property
    def ours(self) -> str:
        """The method of ours that it stands beside, which is given as much."""
        return OURS_TRAINED if self.has_teacher else OURS


def _changed(title: str, plan: Callable[[Given], Plan]) -> Method:
    """Ours with one thing changed, and so with its learning rate."""
    return Method(title, "ablation", plan, lr_of=OURS)


METHODS: dict[str, Method] = {
    "full": Method("full size", "core", lambda g: g.plan(), budgeted=False),
    "growing": Method("learned sizes (ours)", "core", lambda g: g.ours()),
    "uniform": Method("uniformly narrower", "core", lambda g: g.plan(g.bench.narrower(g.share))),
    "shrink only": Method(
        "same schedule, λ's task gradient cut", "core", lambda g: g.ours(kind=ShrinkOnly), lr_of=OURS
    ),
    "paper": Method("paper: fixed β, its noise, linear λ, no settling", "core", _paper, budgeted=False),
    "random": Method(f"random sizes, best of {TRIALS}", "peer", _random, trials=TRIALS, lr_of="uniform"),
    "hard concrete": Method("hard concrete gates (L0)", "peer", _gated(HardConcreteGates)),
    "gaussian gates": Method("stochastic Gaussian gates", "peer", _gated(GaussianGates)),
    "magnitude": Method("pruned once by magnitude, then trained on", "peer", _magnitude),
    "from full": Method("learned sizes (ours), from trained full size", "trained", lambda g: g.ours(g.teacher())),
    "cut from full": Method(
        "trained full size pruned once by magnitude, then trained on",
        "trained",
        lambda g: _magnitude(g, g.teacher(), WARMUP_SHARE),
    ),
    "distilled": Method("uniformly narrower, taught by trained full size", "trained", _distilled, lr_of="uniform"),
    "torch-pruning": Method(
        "trained full size pruned by Torch-Pruning, then trained on",
        "trained",
        _torch_pruning,
        benches=("antispoofing",),
    ),
    "constant rate": _changed("learning rate as at full size", lambda g: g.ours(lr_growth=0.0)),
    "attenuation": _changed("attenuation without noise", lambda g: g.ours(boundary="attenuation")),
    "paper noise": _changed("the paper's noise", lambda g: g.ours(boundary="paper")),
    "linear": _changed("λ linear", _linear),
    "no settling": _changed("search to the end", lambda g: g.ours(search_share=1 - WARMUP_SHARE)),
    "wide boundary": _changed("boundary of four elements", lambda g: g.ours(multiple_of=4)),
    "not ranked": _changed("elements not ranked", lambda g: g.ours(callbacks=[])),
    "no cohesion": _changed(
        "sizes not held together",
        lambda g: g.ours(objective=FlopsBudget(flops_per_second=g.budget, cohesion=0.0)),
    ),
    "taught": _changed("taught by the warm-up's own network", _taught),
}


def system_name(method: str, label: str) -> str:
    """A row's name: of the method, and the budget in percent where it has one."""
    return f"{method} {label} %" if METHODS[method].budgeted else method
