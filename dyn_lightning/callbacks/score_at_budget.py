"""One number for a search over settings under which networks end at different sizes."""

from __future__ import annotations

from collections.abc import Sequence

import lightning
import torch
from lightning.pytorch import Callback

from dyn_lightning.checks import at_least
from dyn_lightning.costs.budgets import FlopsLimit
from dyn_lightning.costs.uncounted import patterns, refuse_uncounted
from dyn_lightning.errors import SettingError
from dyn_lightning.metrics.info import MetricInfo
from dyn_lightning.module import DynamicModule


def score_at_budget(error: float, flops: float, budget: float, weight: float) -> float:
    """``error + weight · max(0, flops / budget − 1)``: within the budget FLOPs are free, above it they are charged.

    Args:
        error: a rate or loss, the less the better.
        flops: what the network costs.
        budget: in the same unit.
        weight: what costing twice the budget counts for, in units of the error.
    """
    return error + weight * max(0.0, flops / budget - 1.0)


class ScoreAtBudget(Callback):
    """Logs ``<monitor>_at_budget`` (:func:`score_at_budget`) after every validation at the final sizes.

    Validations before the sizes are final count for nothing: they measure a network that is not kept, and a search
    that takes the best of a run's values would choose by it.

    Args:
        monitor: a logged value of the validation, the less the better, such as ``val/eer``; None: that by which the
            task says that its networks are compared first.
        share: the budget as a share of the learnable FLOPs at full size, in (0, 1); what is fixed comes on top.
        flops_per_second: the budget in FLOPs per second of audio, all included (per call for a network without a
            duration).
        weight: see :func:`score_at_budget`.
        share_of_all: the budget as a share of all FLOPs at full size, in (0, 1). Give one of the three.
        allow_uncounted: patterns of calls whose FLOPs may be left out, as for ``FlopsBudget``; those that the run's
            own objective allows are allowed here as well.

    Raises:
        SettingError: if not exactly one budget is given, for one that is not positive or a negative weight; at the
            start of a run, for a share where nothing is learned, or a call that has no price and is not in
            ``allow_uncounted``; after a validation, if the monitored value is not
            logged.
        TypeError: at the start of a run, for a module that counts no FLOPs.
    """

    def __init__(
        self,
        monitor: str | None = None,
        share: float | None = None,
        flops_per_second: float | None = None,
        weight: float = 0.1,
        share_of_all: float | None = None,
        allow_uncounted: Sequence[str] = (),
    ) -> None:
        at_least(0.0, weight=weight)
        self.monitor, self.share, self.weight = monitor, share, weight
        self.allow_uncounted = patterns(allow_uncounted)
        self.limit = FlopsLimit(share, share_of_all, flops_per_second, allow_uncounted=["*"])

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        if not isinstance(pl_module, DynamicModule):
            raise TypeError(f"ScoreAtBudget needs a DynamicModule, not a {type(pl_module).__name__}")
        if self.share is not None and not pl_module.is_dynamic:
            raise SettingError(
                f"share={self.share} of the learnable FLOPs, and nothing is learned: give flops_per_second"
            )
        allowed = pl_module.learned[1].allow_uncounted if pl_module.is_dynamic else ()
        refuse_uncounted(pl_module.complexity.uncounted, (*self.allow_uncounted, *allowed))

    # Not on_validation_epoch_end: a callback's turn comes before the module's, which logs what is monitored.
    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, DynamicModule)
        if trainer.sanity_checking or (pl_module.is_dynamic and pl_module.phase != "settle"):
            return
        monitor = self.monitor or next((m for m, i in pl_module.metric_info.items() if _is_first(m, i)), None)
        error = None if monitor is None else trainer.callback_metrics.get(monitor)
        if monitor is None or error is None:
            known = ", ".join(sorted(trainer.callback_metrics))
            raise SettingError(f"ScoreAtBudget: monitor={monitor!r} is not logged; there are {known}")
        complexity = pl_module.complexity
        cost = complexity.flops_at(complexity.sizes_now)
        score = score_at_budget(float(error), cost, self.limit.at_most(complexity), self.weight)
        name = f"{monitor}_at_budget"
        trainer.callback_metrics[name] = torch.tensor(score)
        about = pl_module.metric_info.get(monitor) or MetricInfo(monitor)
        pl_module.metric_info[name] = MetricInfo(f"{about.label} at budget", lower_is_better=True)
        step = trainer.fit_loop.epoch_loop._batches_that_stepped  # what Lightning logs the monitored value by
        for logger in trainer.loggers:
            logger.log_metrics({name: score}, step=step)


def _is_first(metric: str, about: MetricInfo) -> bool:
    """Whether networks are compared by a metric of the validation first, and the less of it the better."""
    return metric.startswith("val") and about.is_main and about.lower_is_better is True
