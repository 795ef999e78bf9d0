"""Approximation of given features.

B batch, N features.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric

from dyn_lightning.errors import SettingError
from dyn_lightning.metrics.info import MetricInfo
from dyn_lightning.tasks.base import Batch, Task, TaskMetrics


class Regression(Task):
    """Mean absolute error of (B, N) outputs; outputs that a narrower layer no longer has count as zeros.

    arXiv 2601.13704, case study 1: the approximation of a mel filter bank.
    """

    input_key = "input"

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return F.l1_loss(pad_outputs(output, batch["target"]), batch["target"])

    def distillation_loss(self, output: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return F.l1_loss(pad_outputs(output, teacher), teacher)

    def new_metrics(self) -> TaskMetrics:
        return RegressionMetrics()


class RegressionMetrics(TaskMetrics):
    """``l1``: mean absolute error."""

    def __init__(self) -> None:
        super().__init__()
        self.l1 = MeanMetric()

    def update(self, output: Tensor, batch: Batch) -> None:
        target = batch["target"]
        self.l1.update((pad_outputs(output.detach(), target) - target).abs())

    def compute(self) -> dict[str, Tensor | float]:
        return {"l1": self.l1.compute()}

    def describe(self, names: Iterable[str]) -> dict[str, MetricInfo]:
        return {"l1": MetricInfo("l1", lower_is_better=True)}


def pad_outputs(output: Tensor, target: Tensor) -> Tensor:
    """Zeros behind the last dimension up to the target's size.

    Raises:
        SettingError: if there are more outputs than targets.
    """
    missing = target.shape[-1] - output.shape[-1]
    if missing < 0:
        raise SettingError(
            f"the network has {output.shape[-1]} outputs, the targets {target.shape[-1]}: ask the data "
            "module for as many targets (n_outputs), or end the network in a layer of their size"
        )
    return F.pad(output, (0, missing)) if missing else output
