"""Lightning callbacks for learning widths: one concern each, useful alone."""

from dyn_lightning.callbacks.batch_norm import BatchNormReestimation
from dyn_lightning.callbacks.complexity_logger import ComplexityLogger
from dyn_lightning.callbacks.consolidate import Consolidate
from dyn_lightning.callbacks.lambda_clamp import LambdaClamp
from dyn_lightning.callbacks.phase_switch import PhaseSwitch
from dyn_lightning.callbacks.progress_bar import WidthsProgressBar
from dyn_lightning.callbacks.reorder import Reorder
from dyn_lightning.callbacks.score_at_budget import ScoreAtBudget
from dyn_lightning.callbacks.teacher_snapshot import TeacherSnapshot
from dyn_lightning.callbacks.widths_checkpoint import WidthsCheckpoint
from dyn_lightning.callbacks.widths_early_stopping import WidthsEarlyStopping

__all__ = [
    "BatchNormReestimation",
    "ComplexityLogger",
    "Consolidate",
    "LambdaClamp",
    "PhaseSwitch",
    "Reorder",
    "ScoreAtBudget",
    "TeacherSnapshot",
    "WidthsCheckpoint",
    "WidthsEarlyStopping",
    "WidthsProgressBar",
]
