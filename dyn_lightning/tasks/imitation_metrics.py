"""How far a network is from its teacher over an evaluation set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torchmetrics import MeanMetric

from dyn_lightning.metrics.info import MetricInfo
from dyn_lightning.tasks.base import Batch, TaskMetrics

DISTANCE = "distance"


class ImitationMetrics(TaskMetrics):
    """``distance``, the sum over outputs of their distances from the teacher's, and ``distance_<output>`` of several.

    With the metrics of a labelled task, where there is one.

    Args:
        distances: output and batch → distance of each output by its path.
        size_of: items of a batch.
        labelled: metrics of the labelled task.
    """

    def __init__(
        self,
        distances: Callable[[object, object], Mapping[str, Tensor]],
        size_of: Callable[[object], int],
        labelled: TaskMetrics | None = None,
    ) -> None:
        super().__init__()
        self._distances, self._size_of = distances, size_of
        self.means = nn.ModuleDict()
        self.labelled = labelled

    def update(self, output: Any, batch: Batch) -> None:
        found, size = self._distances(output, batch), self._size_of(batch)
        parts = {f"{DISTANCE}_{name.replace('.', '_')}": x for name, x in found.items()} if len(found) > 1 else {}
        for name, value in {DISTANCE: sum(found.values()), **parts}.items():
            assert isinstance(value, Tensor)
            if name not in self.means:
                self.means[name] = MeanMetric().to(value.device)
            mean: Any = self.means[name]
            mean.update(value.detach(), size)
        if self.labelled is not None:
            self.labelled.update(output, batch)

    def compute(self) -> dict[str, Tensor | float]:
        means: Any = self.means
        found: dict[str, Tensor | float] = {name: mean.compute() for name, mean in means.items()}
        return found if self.labelled is None else {**found, **self.labelled.compute()}

    def describe(self, names: Iterable[str]) -> dict[str, MetricInfo]:
        names = list(names)
        told = {
            name: MetricInfo("distance from teacher" + name[len(DISTANCE) :].replace("_", " ", 1), lower_is_better=True)
            for name in names
            if name == DISTANCE or name.startswith(f"{DISTANCE}_")
        }
        return told if self.labelled is None else {**self.labelled.describe(names), **told}
