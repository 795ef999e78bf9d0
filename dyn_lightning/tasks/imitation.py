"""Learning from a network alone: its outputs and features are the targets, and no label is needed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.artifact import load_artifact
from dyn_lightning.checks import at_least, positive
from dyn_lightning.errors import SettingError, UserError
from dyn_lightning.layers.linear import Linear
from dyn_lightning.network import DynamicNetwork
from dyn_lightning.network.dynamic import plain_copy
from dyn_lightning.tasks.base import Batch, Task, TaskMetrics
from dyn_lightning.tasks.classification import Classification
from dyn_lightning.tasks.features import Feature, feature_of, imitation_loss, watching, whole_features
from dyn_lightning.tasks.frame_detection import FrameDetection
from dyn_lightning.tasks.imitation_metrics import ImitationMetrics
from dyn_lightning.tasks.output_losses import (
    TOLD,
    OutputLoss,
    check_loss,
    choose,
    distance,
    named_outputs,
    random_signs,
    root_of_curvature,
)
from dyn_lightning.tasks.spoof_detection import SpoofDetection
from dyn_lightning.widths.layout import Layout

TEACHER = "teacher"
"""Key of a batch under which data may hold the teacher's outputs, so that it need not run."""


class Imitation(Task):
    """The network learns to answer what its teacher answers, which without another is the network as it was given.

    The loss is the sum over outputs of their distances (:func:`output_losses.distance`), plus in training
    ``feature_weight`` times the mean over watched layers of :func:`features.imitation_loss`, plus ``task_weight`` times
    a labelled task's. A feature whose size is learned, or is not the teacher's, goes through a linear map to the
    teacher's size, learned along with the network and left out of what ships; it begins as the identity.

    Batches are mappings with ``input_key``, bare inputs, or tuples and lists whose first is the input. A mapping may
    hold the teacher's outputs under ``"teacher"``; then the teacher runs only where features are watched.

    Args:
        teacher: a network with the same outputs, or the folder of an artifact; None: a copy of the backbone.
        outputs: the loss of all outputs, or of each by its path (``logits``, ``0``, ``layers.1``), names of
            ``output_losses.OutputLoss``; "ignore" leaves one out. None, and outputs that are not named: chosen by
            looking at the teacher's first batch; :attr:`chosen` says which.
        features: layers or blocks whose answers are imitated. None: those whose size stays whole while what they read
            is learned. []: none.
        feature_weight: of the features' distances.
        temperature: by which logits are divided.
        task: with labels, whose loss is added.
        task_weight: of it.
        input_key: the network's input in a batch that is a mapping; None: the task's, or "audio".

    Attributes:
        chosen: path of each output → its loss, once a batch has been seen.

    Raises:
        SettingError: for an unknown loss or layer, a negative weight, or a task's weight without a task.
    """

    def __init__(
        self,
        teacher: nn.Module | str | None = None,
        outputs: str | dict[str, str] | None = None,
        features: list[str] | None = None,
        feature_weight: float = 1.0,
        temperature: float = 1.0,
        task: Task | None = None,
        task_weight: float = 0.0,
        input_key: str | None = None,
    ) -> None:
        super().__init__()
        at_least(0.0, feature_weight=feature_weight, task_weight=task_weight)
        positive(temperature=temperature)
        if task_weight and task is None:
            raise SettingError(f"task_weight={task_weight} has no task to weigh: give task")
        self.given = dict(outputs) if isinstance(outputs, Mapping) else {} if outputs is None else {"*": outputs}
        for loss in self.given.values():
            if loss != "ignore":
                check_loss(loss)
        self.task = task
        self.input_key = input_key or (task.input_key if task is not None else "audio")
        self.output_name = task.output_name if task is not None else "output"
        self.features, self.feature_weight = features, feature_weight
        self.temperature, self.task_weight = temperature, task_weight
        self.chosen: dict[str, str] = {}
        self.maps = nn.ModuleDict()
        self._features: list[Feature] = []
        self._seen: dict[str, Tensor] = {}
        self._teacher: list[nn.Module] = []  # in a list: it is no part of what is trained and saved
        if teacher is not None:
            self.set_teacher(load_artifact(teacher)[0] if isinstance(teacher, str) else teacher)

    def __getstate__(self) -> dict[str, object]:
        return {**super().__getstate__(), "_seen": {}}  # type: ignore[misc]

    @property
    def teacher(self) -> nn.Module:
        """Raises SettingError before there is one."""
        if not self._teacher:
            raise SettingError("Imitation has no teacher yet: give it one, or the module its backbone")
        return self._teacher[0]

    def set_teacher(self, teacher: nn.Module) -> None:
        """Learn from this network from now on; it is not changed but for being in evaluation mode."""
        self._teacher = [teacher.eval().requires_grad_(False)]

    def follow(self, network: nn.Module) -> None:
        if self.task is not None:
            self.task.follow(network)
        if not self._teacher:
            self.set_teacher(plain_copy(network) if isinstance(network, DynamicNetwork) else copy.deepcopy(network))

    def attach(self, network: nn.Module) -> None:
        names = self.features
        if names is None:
            names = whole_features(network) if self.feature_weight else []
        self._features = [feature_of(network, name) for name in names]
        for feature in self._features:
            theirs = feature_of(self.teacher, feature.name).size
            key = _key(feature.name)
            if key in self.maps and _same(self.maps[key].in_width, feature.layout):
                continue  # of this network already: its elements may stand in another order by now
            if feature.layout is not None or feature.size != theirs:
                self.maps[key] = _identity(feature, theirs)

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        self._seen = {}
        with watching(network, [f.name for f in self._features] if self.training else []) as seen:
            yield
        self._seen = seen

    def loss(self, output: Any, batch: Batch) -> Tensor:
        watched, self._seen = self._seen if self.training else {}, {}
        if self.training and self._features and not watched and self._of_training(output):
            raise UserError(
                "no feature was seen in a training step: hooks do not run in a compiled network. Use compile=False, or "
                "features=[]"
            )
        with watching(self.teacher, list(watched)) as theirs:
            teacher = self._answers(batch, output, needed=bool(watched))
        loss = self._sum(self.distances(output, teacher))
        if watched:
            parts = [self._feature_loss(f, watched, theirs) for f in self._features]
            loss = loss + self.feature_weight * torch.stack(parts).mean()
        if self.task is not None and self.task_weight:
            loss = loss + self.task_weight * self.task.loss(output, batch)
        return loss

    @staticmethod
    def _of_training(output: Any) -> bool:
        """Whether gradients are asked for, as a training step does."""
        return any(x.requires_grad for _, x in named_outputs(output))

    def _feature_loss(self, feature: Feature, mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> Tensor:
        if feature.name not in mine or feature.name not in theirs:
            raise UserError(f"features: {feature.name} was not called in a training step: leave it out of features")
        student, teacher = mine[feature.name], theirs[feature.name]
        if (key := _key(feature.name)) in self.maps:
            student = self.maps[key](student.movedim(feature.dim, -1)).movedim(-1, feature.dim)
        return imitation_loss(student, teacher, feature.dim)

    @torch.no_grad()
    def _answers(self, batch: Any, output: Any, *, needed: bool = False) -> Any:
        """The teacher's outputs: those in the batch, or what it answers; it runs in any case where ``needed``."""
        stored = batch.get(TEACHER) if isinstance(batch, Mapping) else None
        if stored is not None and not needed:
            return stored
        found = named_outputs(output)
        if found:
            self.teacher.to(found[0][1].device)
        answered = self.teacher(self.input_of(batch))
        return answered if stored is None else stored

    def answers(self, batch: Any) -> Any:
        """The teacher's outputs of a batch: those that are stored in it, or what it answers now."""
        return self._answers(batch, None)

    def distances(self, output: Any, teacher: Any) -> dict[str, Tensor]:
        """Path of each output → its distance from the teacher's, 0-d.

        Raises:
            UserError: where the two do not have the same outputs.
        """
        mine, theirs = dict(named_outputs(output)), dict(named_outputs(teacher))
        self._choose(theirs)
        if mine.keys() != theirs.keys():
            raise UserError(f"the network answers {', '.join(mine)}, its teacher {', '.join(theirs)}: they must agree")
        return {
            name: distance(loss, mine[name], theirs[name], self.temperature)  # type: ignore[arg-type]
            for name, loss in self.chosen.items()
            if loss != "ignore"
        }

    def _choose(self, outputs: Mapping[str, Tensor]) -> None:
        """A loss for each output that has none yet."""
        unknown = [name for name in self.given if name != "*" and name not in outputs]
        if unknown:
            raise SettingError(f"outputs: there is no {', '.join(unknown)}; the network answers {', '.join(outputs)}")
        for name, x in outputs.items():
            if name not in self.chosen:
                given = self.given.get(name, self.given.get("*"))
                self.chosen[name] = given or (_of_task(self.task) if name == "output" else None) or choose(name, x)
        if not any(loss != "ignore" for loss in self.chosen.values()):
            raise SettingError("no output is left to imitate: the network answers no real numbers, or all are ignored")

    def told(self) -> str:
        """What is imitated, in words; empty before a batch has been seen."""
        losses = ", ".join(f"{name}: {TOLD.get(loss, loss)}" for name, loss in self.chosen.items())
        inside = ", ".join(f.name for f in self._features)
        return losses + (f"; features of {inside}" if losses and inside else "")

    @staticmethod
    def _sum(distances: Mapping[str, Tensor]) -> Tensor:
        return torch.stack(list(distances.values())).sum()

    def pull(self, output: Any, noise: Callable[[Tensor], Tensor] = random_signs) -> Tensor:
        """A value whose gradient by the outputs is noise with the loss's curvature as its covariance, 0-d.

        Each item's own gradient, B times this one's, has as its covariance the Hessian of that item's loss where the
        network agrees with its teacher; see :func:`output_losses.root_of_curvature`.

        Args:
            output: of the network that agrees with its teacher; what it answers is taken for the teacher's.
            noise: of unit covariance, like the tensor that it is given.
        """
        found = dict(named_outputs(output))
        self._choose(found)
        parts = []
        for name, loss in self.chosen.items():
            if loss != "ignore":
                x = found[name]
                spread = root_of_curvature(loss, x, noise(x), self.temperature)  # type: ignore[arg-type]
                parts.append((x.float() * spread).sum() / max(1, x.shape[0]))
        return torch.stack(parts).sum()

    def new_metrics(self) -> TaskMetrics:
        labelled = None if self.task is None else self.task.new_metrics()
        return ImitationMetrics(lambda y, batch: self.distances(y, self._answers(batch, y)), self.size_of, labelled)

    def input_of(self, batch: Any) -> Any:
        if isinstance(batch, Mapping):
            return super().input_of(batch)
        return batch[0] if isinstance(batch, (tuple, list)) else batch

    def size_of(self, batch: Any) -> int:
        x = self.input_of(batch)
        return len(x) if isinstance(x, Tensor) else 1

    @property
    def name(self) -> str:
        return type(self).__name__ if self.task is None else self.task.name

    def names(self) -> dict[str, str]:
        return super().names() if self.task is None else self.task.names()

    def metadata(self) -> dict[str, object]:
        return {} if self.task is None else self.task.metadata()


def _of_task(task: Task | None) -> OutputLoss | None:
    """The loss that suits a labelled task's output; None where it does not tell."""
    if isinstance(task, FrameDetection):
        return "bce"
    if isinstance(task, Classification) or (isinstance(task, SpoofDetection) and task.kind == "cross_entropy"):
        return "kl"
    return None


def _key(name: str) -> str:
    """A name that a ModuleDict takes."""
    return name.replace(".", "-")


def _same(one: Any, other: Layout | None) -> bool:
    """Whether two layouts are of the same learned sizes."""
    return one is not None and other is not None and list(one.widths) == list(other.widths)


def _identity(feature: Feature, out: int) -> Linear:
    """A linear map of a feature to ``out`` others, the identity as far as there are as many."""
    linear = Linear(feature.size, out, bias=False, in_width=feature.layout)
    with torch.no_grad():
        linear.weight.zero_().fill_diagonal_(1.0)
    return linear


__all__ = ["TEACHER", "Imitation", "ImitationMetrics"]
