"""What pulls the widths down while they are learned.

An objective is added to the task loss in the search phase: ``penalty = objective(dynamic, task_loss, progress)``.
It may change λ after a step (``after_step``) and say that the search is over (``finished``), and it says at which sizes
the widths freeze (``final_sizes``). Its state is in buffers, and so in checkpoints.
"""

from dyn_lightning.objectives.base import Objective
from dyn_lightning.objectives.flops_budget import FlopsBudget
from dyn_lightning.objectives.loss_tolerance import LossTolerance
from dyn_lightning.objectives.penalties import LambdaSquared
from dyn_lightning.objectives.profiled_budget import ProfiledBudget

__all__ = ["FlopsBudget", "LambdaSquared", "LossTolerance", "Objective", "ProfiledBudget"]
