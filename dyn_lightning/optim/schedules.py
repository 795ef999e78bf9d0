"""Learning rates over the steps of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dyn_lightning.checks import at_least
from dyn_lightning.errors import SettingError
from dyn_lightning.widths.width import Width, held

Schedule = Literal["cosine", "constant"]


def narrowing(widths: Sequence[Width], n_whole: int = 0) -> float:
    """How many times narrower a network is than at full size: geometric mean of full over kept sizes; 1 without any.

    Args:
        widths: the sizes that are learned.
        n_whole: how many more sizes there are, which stay as they are.
    """
    with held(widths):  # one transfer from a GPU, not one for each width
        logs = [math.log(width.full_size / width.current) for width in widths]
    return math.exp(sum(logs) / (len(logs) + n_whole)) if logs else 1.0


def make_schedule(
    optimizer: Optimizer,
    schedule: Schedule,
    total_steps: int | Callable[[], int | None] | None,
    hold: float = 0.0,
    widths: Sequence[Width] = (),
    n_whole: int = 0,
    growth: float = 0.0,
) -> LambdaLR:
    """Learning rate over the steps of a run: of the weights by ``schedule``, of λ constant.

    Args:
        optimizer: its first group holds the weights.
        schedule: "cosine" (half a cosine down to 0 at ``total_steps``) or "constant".
        total_steps: optimiser steps in the run, or a function that tells them; None: not known yet, and the rate is as
            at the start.
        hold: share of the run before the cosine begins.
        widths: by whose sizes the rate of the weights grows.
        n_whole: how many sizes could be learned beside these, and are not: where one layer alone narrows, the others
            still want the rate of their full size.
        growth: exponent of :func:`narrowing`, by which the rate of the weights is multiplied. With Adam the best rate
            is inversely proportional to the width (arXiv 2203.03466, table 3), which is 1; with 0 it does not grow.

    Raises:
        SettingError: for an unknown schedule, or ``hold`` outside [0, 1).
    """
    check_schedule(schedule, hold, growth)

    def cosine(step: int) -> float:
        total = total_steps() if callable(total_steps) else total_steps
        if total is None:
            return 1.0
        start = round(hold * total)
        done = (min(step, total) - start) / max(1, total - start)
        return 0.5 * (1.0 + math.cos(math.pi * max(0.0, done)))

    def constant(_step: int) -> float:
        return 1.0

    shape: Callable[[int], float] = cosine if schedule == "cosine" else constant

    def weights(step: int) -> float:
        return shape(step) * (narrowing(widths, n_whole) ** growth if growth else 1.0)

    return LambdaLR(optimizer, [weights] + [constant] * (len(optimizer.param_groups) - 1))


def check_schedule(schedule: str, hold: float, growth: float) -> None:
    """Raises SettingError for settings of :func:`make_schedule` that cannot be."""
    if schedule not in ("cosine", "constant"):
        raise SettingError(f"lr_schedule={schedule!r} is unknown: use cosine or constant")
    if not 0.0 <= hold < 1.0:
        raise SettingError(f"lr_hold={hold} must lie in [0, 1)")
    at_least(0.0, lr_growth=growth)


def set_rates(optimizer: Optimizer, schedule: LambdaLR, **settings: tuple[float, float]) -> None:
    """Set what a checkpoint has set back: of the weights (lr, weight_decay) and of λ (lr_lam).

    Args:
        optimizer: made by :func:`make_optimizer`, with a checkpoint's state.
        schedule: made by :func:`make_schedule`, likewise.
        settings: name → (in the checkpoint's run, now); what is equal is left alone.
    """
    places = {"lr": (0, "lr"), "weight_decay": (0, "weight_decay"), "lr_lam": (1, "lr")}
    for name, (before, now) in settings.items():
        index, key = places[name]
        if before == now or index >= len(optimizer.param_groups):
            continue
        group = optimizer.param_groups[index]
        if key == "weight_decay":
            group[key] = now
            continue
        schedule.base_lrs[index] = group["initial_lr"] = now
        group["lr"] = now * schedule.lr_lambdas[index](schedule.last_epoch)
