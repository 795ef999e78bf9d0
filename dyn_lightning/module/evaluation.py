"""Validation and test of a task: its metrics over whole data sets, logged by the names of these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from dyn_lightning.errors import SettingError
from dyn_lightning.inputs import evaluating
from dyn_lightning.metrics.info import LOSS_INFO, MetricInfo
from dyn_lightning.network.copies import copied
from dyn_lightning.tasks import Task, TaskMetrics


class EvaluatedModule(lightning.LightningModule):
    """Evaluates what its ``forward`` answers by a task.

    Logs ``val/loss`` and the task's metrics as ``val/<metric>`` and ``test/<metric>``, with the names of the test sets
    in between where the data module has several.

    Attributes:
        task: loss and metrics, given by the derived class.
        metric_info: what the logged metrics are, by name, as far as the task or a callback says.
        threshold: score at the equal error rate of the latest validation, where the task has one; else NaN.
    """

    task: Task
    threshold: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._evaluations: dict[str, nn.ModuleList] = {}
        self.metric_info: dict[str, MetricInfo] = {}
        self.register_buffer("threshold", torch.tensor(float("nan")))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_evaluations": {}}

    def __deepcopy__(self, memo: dict[int, object]) -> Any:
        return copied(self, memo, self.__getstate__())

    def _metrics(self, stage: str, index: int) -> TaskMetrics:
        sets = self._evaluations.setdefault(stage, nn.ModuleList())
        while len(sets) <= index:
            sets.append(self.task.new_metrics().to(self.device))
        metrics: Any = sets[index]
        return metrics

    def evaluations(self, stage: str) -> dict[str, TaskMetrics]:
        """Name of each set, as in what is logged → its metrics of the latest pass of a stage ("val" or "test")."""
        sets: Any = self._evaluations.get(stage, ())
        return {self._prefix(stage, index): metrics for index, metrics in enumerate(sets)}

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate("val", batch, dataloader_idx)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate("test", batch, dataloader_idx)

    def _evaluate(self, stage: str, batch: Any, index: int) -> None:
        output = self(self.task.input_of(batch))
        self._metrics(stage, index).update(output, batch)
        self.log(
            f"{self._prefix(stage, index)}/loss",
            self.task.loss(output, batch),
            on_epoch=True,
            batch_size=self.task.size_of(batch),
            sync_dist=True,
            add_dataloader_idx=False,
        )

    def _prefix(self, stage: str, index: int) -> str:
        """``test/<name>`` where the data module names its test sets; ``val``, ``val/1``, … otherwise."""
        names: Sequence[str] = getattr(getattr(self.trainer, "datamodule", None), f"{stage}_names", ())
        if len(names) > 1:
            return f"{stage}/{names[index]}"
        return stage if index == 0 else f"{stage}/{index}"

    def on_validation_epoch_start(self) -> None:
        self._evaluations.pop("val", None)

    def on_test_epoch_start(self) -> None:
        self._evaluations.pop("test", None)

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test")

    def _log_metrics(self, stage: str) -> None:
        for index, (prefix, metrics) in enumerate(self.evaluations(stage).items()):
            found = metrics.compute()
            about = {"loss": LOSS_INFO, **metrics.describe(found)}
            self.metric_info |= {f"{prefix}/{name}": info for name, info in about.items()}
            for name, value in found.items():
                self.log(f"{prefix}/{name}", value, prog_bar=name in about and about[name].is_main)
            if stage == "val" and index == 0 and "threshold" in found:
                self.threshold.fill_(found["threshold"])


@torch.no_grad()
def evaluate(network: nn.Module, task: Task, batches: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Mean loss and the task's metrics of a network in evaluation mode; its mode is put back.

    Raises:
        SettingError: if there are no batches.
    """
    metrics, losses, items = task.new_metrics(), 0.0, 0
    with evaluating(network):
        for batch in batches:
            output, count = network(task.input_of(batch)), task.size_of(batch)
            losses, items = losses + count * float(task.loss(output, batch)), items + count
            metrics.update(output, batch)
    if not items:
        raise SettingError("there are no batches to evaluate on")
    return {"loss": losses / items, **{name: float(value) for name, value in metrics.compute().items()}}
