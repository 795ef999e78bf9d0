"""Any task, learned from a teacher's outputs as well."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.artifact import load_artifact
from dyn_lightning.checks import positive, within
from dyn_lightning.tasks.base import Batch, Task, TaskMetrics


class Distillation(Task):
    """In training, ``(1 − weight) · the task's loss + weight · distance from the teacher`` (arXiv 1503.02531).

    Everything else is the task's: evaluation, metrics, what inference is told.

    Args:
        task: with targets.
        teacher: a network with the same outputs, or the folder of an artifact. None where another gives it in time,
            as the callback ``TeacherSnapshot`` does; the loss is the task's alone until then.
        weight: of the teacher, in [0, 1].
        temperature: by which both networks' logits are divided.

    Raises:
        SettingError: for a weight outside [0, 1] or a temperature that is not positive.
        TypeError: in training, for a task without logits.
    """

    def __init__(
        self, task: Task, teacher: nn.Module | str | None = None, weight: float = 0.5, temperature: float = 2.0
    ) -> None:
        super().__init__()
        within(0.0, 1.0, weight=weight)
        positive(temperature=temperature)
        self.task = task
        self.predictor = task.predictor
        self.weight, self.temperature = weight, temperature
        self._teacher: list[nn.Module] = []  # in a list: it is no part of what is trained and saved
        if teacher is not None:
            self.set_teacher(load_artifact(teacher)[0] if isinstance(teacher, str) else teacher)

    @property
    def has_teacher(self) -> bool:
        """Whether there is one already."""
        return bool(self._teacher)

    def set_teacher(self, teacher: nn.Module) -> None:
        """Learn from this network from now on; it is not changed but for being in evaluation mode."""
        self._teacher = [teacher.eval().requires_grad_(False)]

    def loss(self, output: Any, batch: Batch) -> Tensor:
        loss = self.task.loss(output, batch)
        if not self.training or not self._teacher:
            return loss
        with torch.no_grad():
            soft = self._teacher[0].to(loss.device)(self.task.input_of(batch))
        return (1 - self.weight) * loss + self.weight * self.task.distillation_loss(output, soft, self.temperature)

    def new_metrics(self) -> TaskMetrics:
        return self.task.new_metrics()

    def follow(self, network: nn.Module) -> None:
        self.task.follow(network)

    def input_of(self, batch: Batch) -> Any:
        return self.task.input_of(batch)

    @property
    def name(self) -> str:
        return self.task.name

    def names(self) -> dict[str, str]:
        return self.task.names()

    def metadata(self) -> dict[str, object]:
        return self.task.metadata()
