"""How many optimiser steps a run and its epochs have, as far as that is known."""

from __future__ import annotations

import math

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler


def steps_in_epochs(trainer: Trainer, first: int, count: int, measured: float | None = None) -> int | None:
    """Optimiser steps of ``count`` epochs from epoch ``first`` on, whatever ends the run; None where it is unknown.

    Args:
        trainer: of a fit.
        first: the epoch's number, 0 for the run's first.
        count: number of epochs.
        measured: steps of an epoch as they were counted, for a training loader without a length.
    """
    if (batches := _batches_per_epoch(trainer)) is None:
        return None if measured is None else round(count * measured)
    schedule = next((c for c in trainer.callbacks if isinstance(c, GradientAccumulationScheduler)), None)  # type: ignore[attr-defined]
    if schedule is None:
        return count * _steps(batches, trainer.accumulate_grad_batches)
    epochs = range(first, first + count)
    return sum(_steps(batches, schedule.get_accumulate_grad_batches(epoch)) for epoch in epochs)


def steps_of_run(trainer: Trainer, measured: float | None = None) -> int | None:
    """Optimiser steps of a whole run: of ``max_epochs`` or ``max_steps``, whichever is less; None where unknown.

    ``measured`` as for :func:`steps_in_epochs`. A run that ``max_time`` ends is shorter.
    """
    epochs, most = trainer.max_epochs, trainer.max_steps
    limit = None if most < 0 else most
    if epochs is None or epochs < 0:
        return limit
    steps = steps_in_epochs(trainer, 0, epochs, measured)
    if steps is None:
        return limit
    return steps if limit is None else min(steps, limit)


def _batches_per_epoch(trainer: Trainer) -> int | None:
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()
    batches = trainer.num_training_batches
    return None if math.isinf(batches) else int(batches)


def _steps(batches: int, accumulated: int) -> int:
    """The last step of an epoch takes what batches are left."""
    return math.ceil(batches / accumulated)
