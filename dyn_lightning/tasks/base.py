"""What a backbone is trained for, whatever it is: its input and loss, and the metrics by which it is judged."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn

from dyn_lightning.data.score_files import ScoreTable
from dyn_lightning.metrics.info import MetricInfo

Batch = Mapping[str, Any]


class Task(nn.Module):
    """A loss and its metrics: told a network's outputs and batches, it knows nothing else of it but for :meth:`follow`.

    Attributes:
        input_key: the network's input in a batch.
        output_name: what the network's output is called in what ships.
        predictor: what ``predict`` makes of audio by the task's artifacts: "segments", "utterance_scores", or the path
            of a class of your own, see :class:`~dyn_lightning.inference.FilePredictor`; "" for nothing.
    """

    input_key = "audio"
    output_name = "output"
    predictor = ""

    @abstractmethod
    def loss(self, output: Any, batch: Batch) -> Tensor:
        """Training loss of one batch, 0-d."""

    @abstractmethod
    def new_metrics(self) -> TaskMetrics:
        """Fresh metrics for one evaluation set."""

    def follow(self, network: nn.Module) -> None:
        """Take what the task has to know of the network, such as which frames it answers for; by default nothing."""

    def attach(self, network: nn.Module) -> None:
        """Take what the task has to know of the network that is trained, its learned sizes included; after `follow`.

        Parameters that the task makes here or before are trained along with the network's, and left out of what ships.
        """

    def watching(self, network: nn.Module) -> AbstractContextManager[None]:
        """Around a training step's call of the network: for a loss of what is inside it. By default nothing."""
        return nullcontext()

    def size_of(self, batch: Batch) -> int:
        """Items in a batch."""
        return len(batch["target"])

    def input_of(self, batch: Batch) -> Any:
        """The network's input in a batch. Raises KeyError that names the keys there are."""
        if self.input_key not in batch:
            raise KeyError(
                f"{type(self).__name__} wants batch[{self.input_key!r}], the batch has {', '.join(batch)}: "
                "use a data module that gives it"
            )
        return batch[self.input_key]

    def distillation_loss(self, output: Any, teacher: Any, temperature: float) -> Tensor:
        """How far outputs are from a teacher's, 0-d and zero where they agree.

        Raises TypeError for a task whose outputs are nothing that a teacher could soften.
        """
        raise TypeError(f"{type(self).__name__} has no logits that a teacher could give: it cannot be distilled")

    @property
    def name(self) -> str:
        """By which inference knows the task."""
        return type(self).__name__

    def names(self) -> dict[str, str]:
        """What the network's input and output are called in what ships."""
        return {"input_name": self.input_key, "output_name": self.output_name}

    def metadata(self) -> dict[str, object]:
        """What inference needs to know of the task beside its name, as JSON values for the artifact."""
        return {}


class TaskMetrics(nn.Module):
    """Metrics of one pass over one evaluation set, over all processes."""

    @abstractmethod
    def update(self, output: Any, batch: Batch) -> None:
        """Count one batch."""

    @abstractmethod
    def compute(self) -> dict[str, Tensor | float]:
        """Name → value over all batches."""

    def scores(self) -> ScoreTable | None:
        """Scores of the set's utterances, over all processes, of which a DET curve is drawn; None for no such scores.

        Each process has to call it.
        """
        return None

    def describe(self, names: Iterable[str]) -> dict[str, MetricInfo]:
        """What metrics are, by the names that :meth:`compute` gave; of those that are left out only the name is known.

        A metric of a part of the set says what the set is divided by (``group``) and which part it is (``member``):
        the report has a table of each group.
        """
        return {}
