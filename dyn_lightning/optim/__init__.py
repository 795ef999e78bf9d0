"""Optimisers for dynamic networks: λ in a group of its own, and parameters out of use left as they are."""

from dyn_lightning.optim.gradients import clip_gradients, forget
from dyn_lightning.optim.groups import (
    OptimizerCallable,
    check_eps,
    make_optimizer,
    parameter_groups,
    portable,
    width_parameters,
)
from dyn_lightning.optim.schedules import Schedule, check_schedule, make_schedule, narrowing, set_rates
from dyn_lightning.optim.unused import protect_unused, unused_blocks, unused_mask

__all__ = [
    "OptimizerCallable",
    "Schedule",
    "check_eps",
    "check_schedule",
    "clip_gradients",
    "forget",
    "make_optimizer",
    "make_schedule",
    "narrowing",
    "parameter_groups",
    "portable",
    "protect_unused",
    "set_rates",
    "unused_blocks",
    "unused_mask",
    "width_parameters",
]
