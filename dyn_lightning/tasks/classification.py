"""One class out of several for each item, e.g. of images or of spoken keywords.

B batch, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric

from dyn_lightning.errors import SettingError
from dyn_lightning.metrics.info import MetricInfo
from dyn_lightning.tasks.base import Batch, Task, TaskMetrics
from dyn_lightning.tasks.losses import soft_cross_entropy


class Classification(Task):
    """Cross-entropy on logits (B, C); ``batch["target"]`` is (B,), the class in 0 … C − 1.

    Metrics: see :class:`ClassificationMetrics`.

    Args:
        input_key: the network's input in a batch.
        label_smoothing: share of each target that is spread evenly over all classes, in [0, 1]; in the loss alone.

    Raises:
        SettingError: for a ``label_smoothing`` outside of [0, 1].
    """

    output_name = "logits"

    def __init__(self, input_key: str = "audio", label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing <= 1.0:
            raise SettingError(f"label_smoothing must lie in [0, 1], got {label_smoothing}")
        self.input_key = input_key
        self.label_smoothing = label_smoothing

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        target = _check(output, batch["target"])
        return F.cross_entropy(output, target, label_smoothing=self.label_smoothing)

    def distillation_loss(self, output: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return soft_cross_entropy(output, teacher, temperature)

    def new_metrics(self) -> TaskMetrics:
        return ClassificationMetrics()


class ClassificationMetrics(TaskMetrics):
    """``accuracy``, the share of items whose class has the largest logit, and ``error_rate``, the rest; in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.accuracy = MeanMetric()

    def update(self, output: Tensor, batch: Batch) -> None:
        target = _check(output, batch["target"])
        self.accuracy.update((output.detach().argmax(1) == target).float())

    def compute(self) -> dict[str, Tensor | float]:
        accuracy = self.accuracy.compute()
        return {"accuracy": accuracy, "error_rate": 1.0 - accuracy}

    def describe(self, names: Iterable[str]) -> dict[str, MetricInfo]:
        return {
            "accuracy": MetricInfo("accuracy", "%", lower_is_better=False),
            "error_rate": MetricInfo("error rate", "%", lower_is_better=True),
        }


def _check(output: Tensor, target: Tensor) -> Tensor:
    """The target as class numbers, if it fits the output."""
    if output.ndim != 2 or target.shape != output.shape[:1]:
        raise SettingError(
            f"the network's output is {tuple(output.shape)} and the target {tuple(target.shape)}: classification wants "
            "one logit per item and class, (B, C), and one class per item, (B,)"
        )
    return target.long()
