"""What pulls the widths down while they are learned.

An objective is added to the task loss in the search phase: ``penalty = objective(dynamic, task_loss, progress)``.
It may change λ after a step (``after_step``) and say that the search is over (``finished``), and it says at which sizes
the widths freeze (``final_sizes``). Its state is in buffers, and so in checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.checks import ascending, at_least, positive, proper_share
from dyn_lightning.costs.allocation import learnable_share, least_size, move_to, sizes_within
from dyn_lightning.costs.budgets import WAYS, budget_in_flops, check_budget
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.costs.uncounted import refuse_uncounted
from dyn_lightning.errors import SettingError

ROUNDING = 0.01
"""Share of a unit by which K may stand above an integer and still count as that integer."""


class Objective(nn.Module):
    """Base of the objectives: no penalty, never finished, freezes at the kept sizes ⌊K⌋."""

    @property
    def finished(self) -> bool:
        """Whether the search may end now."""
        return False

    def check(self, dynamic: Any) -> None:
        """Raise ValueError where the goal cannot be met by this network."""

    def budget(self, complexity: Complexity) -> float | None:
        """The FLOPs that the final sizes may cost, all included, in the complexity's unit; None: there is no limit."""
        return None

    @property
    def asked(self) -> dict[str, float]:
        """The budget as it was stated, one of ``budgets.WAYS`` → value; empty without one."""
        return {}

    def observe(self, task_loss: Tensor) -> None:
        """See the task loss (0-d, detached) of every step before the sizes are final, warm-up included.

        A loss that is no finite number is to change nothing, here as in ``forward``.
        """

    def final_sizes(self, dynamic: Any) -> dict[str, int]:
        """Elements that each Width is frozen at when the search ends."""
        return {name: width.size for name, width in dynamic.widths.items()}

    def forward(self, dynamic: Any, task_loss: Tensor, progress: float) -> Tensor:
        """The penalty, 0-d, with λ's gradient.

        Args:
            dynamic: the dynamic network.
            task_loss: value of the task loss, 0-d, detached.
            progress: share of the search that is done, in [0, 1].
        """
        raise NotImplementedError

    def after_step(self, dynamic: Any, progress: float) -> None:
        """Change λ after the optimiser's step in the search; ``progress`` is that after the step."""


class LambdaSquared(Objective):
    """The paper's objective: ``(β / N_d) Σ λ_n²`` over the N_d widths (arXiv 2601.13704).

    Args:
        beta: β, 0 or more; 0.5 for voice activity detection and 1.0 for anti-spoofing in the paper, found by hand.
    """

    def __init__(self, beta: float = 0.5) -> None:
        super().__init__()
        at_least(0.0, beta=beta)
        self.beta = beta

    def forward(self, dynamic: Any, task_loss: Tensor, progress: float) -> Tensor:
        lam = torch.stack([width.lam for width in dynamic.widths.values()])
        return self.beta * lam.square().mean()


class FlopsTerm(Objective):
    """``β · (learnable FLOPs now / learnable FLOPs at full size)``: what a width costs is what its λ is charged."""

    def __init__(self, beta: float = 0.5) -> None:
        super().__init__()
        at_least(0.0, beta=beta)
        self.beta = beta

    def forward(self, dynamic: Any, task_loss: Tensor, progress: float) -> Tensor:
        return self.beta * learnable_share(dynamic.complexity)


class FlopsBudget(Objective):
    """Ends at or below a budget of FLOPs, and within 1 % of it where the finest Width's unit allows.

    ``penalty = μ · log(learnable FLOPs)``. A target falls geometrically from full size to the budget over ``descent``
    of the search; μ follows how far the cost lies above the target (proportional and integral, in units of the task
    loss). For the rest of the search the cost stays at the budget while the widths go on trading with each other: a
    width that is cheap beside the others at full size may be what costs most at the budget. The integers nearest to
    the sizes found that use the budget up are what the widths freeze at (:func:`allocation.sizes_within`).

    How strong μ has to be is not known beforehand, nor how fast λ can follow: where a task is all but solved, sizes are
    worth far more than the loss is large. So the learnable FLOPs stay between two limits, at which all λ are moved by
    one factor (:func:`allocation.move_to`): the budget itself, as what μ takes beyond it, momentum included, would have
    to be given back at the end; and ``leash`` times a straight line in their log, from full size to the budget at the
    search's end.

    Args:
        share: budget as a share of the learnable FLOPs, in (0, 1); what is fixed, as a front end, comes on top.
        flops_per_second: budget in FLOPs per second of audio, all included (per call for a network without a
            duration).
        share_of_all: budget as a share of all FLOPs at full size, in (0, 1). Give one of the three.
        descent: share of the search after which the target is down at the budget.
        proportional: gain on log(cost / target).
        integral: gain on its sum over the steps.
        cohesion: ρ of a term ``ρ · Σ w_n (log λ_n − m)²``, in units of the task loss, that holds the widths to their
            weighted mean m. λ's gradient tells what a unit is worth to weights that have not had the time to do without
            it. The weights w_n are as what the widths cost (:meth:`Complexity.elasticities`), 1 in their mean, so that
            sizes part by what a FLOP earns in them, and one that is cheap does not shrink along with a dear one.
        leash: the factor, above 1; inf: no upper limit. At 1.6 it hardly acts where μ keeps up.
        allow_uncounted: patterns (``fnmatch``) of calls whose FLOPs may be left out because they have no price, by
            function ("grid_sample") or with their module ("decoder.*"). Any other such call is an error.

    Raises:
        SettingError: if not exactly one budget is given; from ``check``, if it is out of reach; wherever the budget is
            asked for, if a call has no price and is not in ``allow_uncounted``.
    """

    integral_error: Tensor
    loss_scale: Tensor

    def __init__(
        self,
        share: float | None = None,
        flops_per_second: float | None = None,
        share_of_all: float | None = None,
        *,
        descent: float = 0.6,
        proportional: float = 2.0,
        integral: float = 0.05,
        cohesion: float = 1.0,
        leash: float = 1.6,
        allow_uncounted: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if isinstance(allow_uncounted, str):
            raise SettingError(f"allow_uncounted is a list of patterns, not {allow_uncounted!r}")
        proper_share(share=share, share_of_all=share_of_all)
        check_budget(share, share_of_all, flops_per_second)
        if not 0.0 < descent <= 1.0:
            raise SettingError(f"descent must lie in (0, 1], got {descent}")
        at_least(0.0, proportional=proportional, integral=integral, cohesion=cohesion)
        if not leash > 1.0:
            raise SettingError(f"leash must be above 1, got {leash}")
        self.share = share
        self.share_of_all = share_of_all
        self.flops_per_second = flops_per_second
        self.descent = descent
        self.proportional = proportional
        self.integral = integral
        self.cohesion = cohesion
        self.leash = leash
        self.allow_uncounted = tuple(allow_uncounted)
        self.register_buffer("integral_error", torch.zeros(()))
        self.register_buffer("loss_scale", torch.zeros(()))

    def budget(self, complexity: Complexity) -> float:
        """The budget in FLOPs, all included, in the complexity's unit."""
        refuse_uncounted(complexity.uncounted, self.allow_uncounted)
        return budget_in_flops(complexity, **self.asked)

    @property
    def asked(self) -> dict[str, float]:
        return {name: value for name in WAYS if (value := getattr(self, name)) is not None}

    def check(self, dynamic: Any) -> None:
        complexity, budget = dynamic.complexity, self.budget(dynamic.complexity)
        unit = complexity.unit.replace("_", " ")
        least = complexity.flops_at({name: least_size(width) for name, width in dynamic.widths.items()})
        if budget < least:
            raise SettingError(
                f"a budget of {budget:.4g} {unit} is out of reach: with every width at its least the network costs "
                f"{least:.4g} (of which {complexity.fixed_flops():.4g} no size governs); raise the budget, lower "
                "lam_min, or let more sizes be learned"
            )
        if budget >= complexity.flops_full_size():
            raise SettingError(
                f"a budget of {budget:.4g} {unit} leaves nothing to do: at full size the network costs "
                f"{complexity.flops_full_size():.4g}"
            )

    def final_sizes(self, dynamic: Any) -> dict[str, int]:
        return sizes_within(dynamic, self.budget(dynamic.complexity))

    def forward(self, dynamic: Any, task_loss: Tensor, progress: float) -> Tensor:
        log_share = learnable_share(dynamic.complexity).log()
        with torch.no_grad():
            sound = task_loss.isfinite()
            seen = torch.where(sound, task_loss.abs(), self.loss_scale)
            self.loss_scale.copy_(torch.where(self.loss_scale == 0, seen, 0.99 * self.loss_scale + 0.01 * seen))
            error = log_share - self._log_goal(dynamic) * min(1.0, progress / self.descent)
            self.integral_error.add_(torch.where(sound, self.integral * error, 0.0)).clamp_(min=0.0)
            mu = (self.proportional * error + self.integral_error).clamp(min=0.0) * self.loss_scale
        return mu * log_share + self.cohesion * self.loss_scale * _spread(dynamic)

    @torch.no_grad()
    def after_step(self, dynamic: Any, progress: float) -> None:
        goal = self._log_goal(dynamic)
        most = goal * progress + math.log(self.leash)
        now = float(learnable_share(dynamic.complexity).log())
        if now > most:
            move_to(dynamic, most)
        elif now < goal:
            move_to(dynamic, goal)
            self.integral_error.zero_()  # it has gone on too long

    def _log_goal(self, dynamic: Any) -> float:
        """Log of the share of the learnable FLOPs that the budget leaves."""
        complexity = dynamic.complexity
        return math.log((self.budget(complexity) - complexity.fixed_flops()) / complexity.learnable_flops())


def _spread(dynamic: Any) -> Tensor:
    """``Σ w_n (log λ_n − m)²``, 0-d, as ``FlopsBudget.cohesion`` has it."""
    log_lam = torch.stack([width.lam for width in dynamic.widths.values()]).log()
    weights = dynamic.complexity.elasticities()
    weights = weights / weights.mean()
    return (weights * (log_lam - (weights * log_lam).mean()).square()).sum()


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

    def forward(self, dynamic: Any, task_loss: Tensor, progress: float) -> Tensor:
        with torch.no_grad():
            known = self.running_loss.isfinite()  # not before the first finite loss
            self.best_loss.copy_(torch.where(known, torch.minimum(self.best_loss, self.running_loss), self.best_loss))
            slack = self.tolerance * (self.first_loss - self.best_loss).clamp(min=1e-12)
            room = ((self.best_loss + slack - self.running_loss) / slack).clamp(-1.0, 1.0)
            self.log_weight.add_(torch.where(known & task_loss.isfinite(), self.rate * room, 0.0)).clamp_(*self.limits)
            weight = torch.where(known, self.log_weight.exp() * self.first_loss.abs(), 0.0)
        return weight * learnable_share(dynamic.complexity).log()

    def final_sizes(self, dynamic: Any) -> dict[str, int]:
        sizes = {}
        for name, width in dynamic.widths.items():
            units = math.ceil(float(width.k.detach()) / width.multiple_of - ROUNDING)
            sizes[name] = min(max(1, units) * width.multiple_of, width.full_size)
        return sizes
