"""The objective that ends at a budget: of FLOPs, or of any other cost that is a function of the sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dyn_lightning.checks import at_least, proper_share
from dyn_lightning.costs.allocation import least_size, move_to, sizes_within
from dyn_lightning.costs.budgets import WAYS, FlopsLimit
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.costs.limits import Limit
from dyn_lightning.costs.uncounted import patterns
from dyn_lightning.errors import SettingError
from dyn_lightning.network.dynamic import DynamicNetwork
from dyn_lightning.objectives.base import Objective


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
        share_of_all: budget as a share of all FLOPs at full size, in (0, 1). Give one of the three, or
        limit: what else may be limited, such as :class:`~dyn_lightning.costs.limits.Parameters`; where "FLOPs" stands
            here, read its cost.
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
        limit: Limit | None = None,
    ) -> None:
        super().__init__()
        allowed = patterns(allow_uncounted)
        proper_share(share=share, share_of_all=share_of_all)
        flops = (share, share_of_all, flops_per_second)
        if limit is not None and any(value is not None for value in flops):
            raise SettingError(f"give a budget either as limit or as one of {', '.join(WAYS)}")
        self.limit = FlopsLimit(*flops, allow_uncounted=allowed) if limit is None else limit
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
        self.allow_uncounted = allowed
        self.register_buffer("integral_error", torch.zeros(()))
        self.register_buffer("loss_scale", torch.zeros(()))

    def budget(self, complexity: Complexity) -> float:
        """The budget in FLOPs, all included, in the complexity's unit; of another limit, in its own."""
        return self.limit.at_most(complexity)

    def above(self, complexity: Complexity) -> str | None:
        return self.limit.above(complexity)

    @property
    def asked(self) -> dict[str, float]:
        return dict(self.limit.asked)

    def check(self, dynamic: DynamicNetwork) -> None:
        complexity, budget = dynamic.complexity, self.budget(dynamic.complexity)
        limit, unit = self.limit, self.limit.unit(complexity).replace("_", " ")
        least = float(limit.cost(complexity, {name: least_size(width) for name, width in dynamic.widths.items()}))
        if budget < least:
            raise SettingError(
                f"a budget of {budget:.4g} {unit} is out of reach: with every width at its least the network costs "
                f"{least:.4g} (of which {limit.fixed(complexity):.4g} no size governs); raise the budget, lower "
                "lam_min, or let more sizes be learned"
            )
        if budget >= limit.full(complexity):
            raise SettingError(
                f"a budget of {budget:.4g} {unit} leaves nothing to do: at full size the network costs "
                f"{limit.full(complexity):.4g}"
            )

    def final_sizes(self, dynamic: DynamicNetwork) -> dict[str, int]:
        return sizes_within(dynamic, self.budget(dynamic.complexity), self.limit)

    def forward(self, dynamic: DynamicNetwork, task_loss: Tensor, progress: float) -> Tensor:
        log_share = self.limit.learnable_share(dynamic.complexity).log()
        with torch.no_grad():
            sound = task_loss.isfinite()
            seen = torch.where(sound, task_loss.abs(), self.loss_scale)
            self.loss_scale.copy_(torch.where(self.loss_scale == 0, seen, 0.99 * self.loss_scale + 0.01 * seen))
            error = log_share - self._log_goal(dynamic) * min(1.0, progress / self.descent)
            self.integral_error.add_(torch.where(sound, self.integral * error, 0.0)).clamp_(min=0.0)
            mu = (self.proportional * error + self.integral_error).clamp(min=0.0) * self.loss_scale
        return mu * log_share + self.cohesion * self.loss_scale * _spread(dynamic, self.limit, self.anchors(dynamic))

    @torch.no_grad()
    def after_step(self, dynamic: DynamicNetwork, progress: float) -> None:
        goal = self._log_goal(dynamic)
        most = goal * progress + math.log(self.leash)
        now = float(self.limit.learnable_share(dynamic.complexity).log())
        if now > most:
            move_to(dynamic, most, limit=self.limit)
        elif now < goal:
            move_to(dynamic, goal, limit=self.limit)
            self.integral_error.zero_()  # it has gone on too long

    def anchors(self, dynamic: DynamicNetwork) -> Tensor | float:
        """log λ of each width (widths,) where they are as far apart as they are held to be; 0: all alike."""
        return 0.0

    def _log_goal(self, dynamic: DynamicNetwork) -> float:
        """Log of the share of what the sizes govern that the budget leaves."""
        complexity, limit = dynamic.complexity, self.limit
        fixed = limit.fixed(complexity)
        return math.log((self.budget(complexity) - fixed) / (limit.full(complexity) - fixed))


def _spread(dynamic: DynamicNetwork, limit: Limit, anchors: Tensor | float) -> Tensor:
    """``Σ w_n (log λ_n − a_n − m)²``, 0-d, as ``FlopsBudget.cohesion`` has it, with anchors a."""
    log_lam = torch.stack([width.lam for width in dynamic.widths.values()]).log() - anchors
    weights = limit.elasticities(dynamic.complexity)
    weights = weights / weights.mean()
    return (weights * (log_lam - (weights * log_lam).mean()).square()).sum()
