"""What a backbone is trained for: its input and loss, and the metrics by which it is judged."""

from dyn_lightning.tasks.base import Batch, Task, TaskMetrics
from dyn_lightning.tasks.classification import Classification, ClassificationMetrics
from dyn_lightning.tasks.distillation import Distillation
from dyn_lightning.tasks.frame_detection import DetectionMetrics, FrameDetection, align_target
from dyn_lightning.tasks.imitation import Imitation
from dyn_lightning.tasks.regression import Regression, RegressionMetrics, pad_outputs
from dyn_lightning.tasks.spoof_detection import SpoofDetection, SpoofMetrics

__all__ = [
    "Batch",
    "Classification",
    "ClassificationMetrics",
    "DetectionMetrics",
    "Distillation",
    "FrameDetection",
    "Imitation",
    "Regression",
    "RegressionMetrics",
    "SpoofDetection",
    "SpoofMetrics",
    "Task",
    "TaskMetrics",
    "align_target",
    "pad_outputs",
]
