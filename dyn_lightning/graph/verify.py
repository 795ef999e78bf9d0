"""Runs a cut network and finds the first call whose result is not of the size that the graph says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dyn_lightning.errors import FAILURES, first_line
from dyn_lightning.graph import rules
from dyn_lightning.graph.axes import Axis, Size, Sum, axis_size, axis_sizes, normal
from dyn_lightning.graph.notes import Event, Pass
from dyn_lightning.graph.places import line_of_error
from dyn_lightning.graph.runner import Runner
from dyn_lightning.inputs import tensors_in
from dyn_lightning.modules.stacked_rnn import StackedRNN


@dataclass(frozen=True)
class Mismatch:
    """Where a cut network does not agree with its graph.

    Attributes:
        sizes: the Sizes at hand there.
        reason: in words.
    """

    sizes: tuple[Size, ...]
    reason: str


class _Disagreement(Exception):
    """Ends the run at the first call that does not agree."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position
        self.reason = reason


class _Checker(Runner):
    def __init__(
        self,
        network: nn.Module,
        events: list[Event],
        sizes: Mapping[Size, int],
        is_leaf: Callable[[nn.Module], bool] = rules.is_leaf,
        remembers: bool = False,
    ) -> None:
        super().__init__(network, is_leaf)
        self.remembers = remembers
        self.events = events
        self.sizes = sizes
        self.position = 0

    def _expect(self, name: str, out: Any) -> None:
        results = tensors_in(out)
        if not results:
            return
        if self.remembers:
            later = range(self.position, len(self.events))
            alike = (i for i in later if self.events[i].name == name and self._agrees(self.events[i], results))
            self.position = next(alike, self.position)
        event = self.events[self.position] if self.position < len(self.events) else None
        if event is None or event.name != name:
            raise _Disagreement(self.position, f"the code of {self.where} does something else at another size")
        if not self._agrees(event, results):
            raise _Disagreement(
                self.position, f"the code of {self.where} gives it a size of its own ({name.rsplit('.', 1)[-1]})"
            )
        self.position += 1

    def _agrees(self, event: Event, results: list[Tensor]) -> bool:
        return all(
            list(x.shape) == [size_at(axis, self.sizes) for axis in axes]
            for x, axes in zip(results, event.outputs, strict=False)
        )

    def on_layer(self, name: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        # Final states of unequal layers are as wide as the widest; nobody reads them, or the layers were tied.
        self._expect(name, tensors_in(out)[:1] if isinstance(module, (StackedRNN, nn.RNNBase)) else out)

    def on_function(self, func: Any, args: Any, kwargs: Any) -> Any:
        name = rules.function_name(func)
        out = func(*args, **kwargs)
        if name not in ("setitem", "set", "get"):
            self._expect(f"{self.path[-1]}.{name}" if self.path and self.path[-1] else name, out)
        elif name == "get" and tensors_in(out):
            own = getattr(getattr(func, "__self__", None), "__name__", name)
            self._expect(f"{self.path[-1]}.{own}" if self.path and self.path[-1] else own, out)
        return out


def size_at(axis: Axis, sizes: Mapping[Size, int]) -> int:
    """Elements of an Axis where each Size has the given value, or its full size if it has none."""
    total = 1
    for factor in normal(axis):
        if isinstance(factor, Sum):
            total *= sum(size_at(part, sizes) for part in factor.parts)
        else:
            total *= factor if isinstance(factor, int) else sizes.get(factor, factor.full_size)
    return total


def find_mismatch(
    small: nn.Module,
    run: Pass,
    sizes: Mapping[Size, int],
    is_leaf: Callable[[nn.Module], bool] = rules.is_leaf,
    remembers: bool = False,
) -> Mismatch | None:
    """The first disagreement between a network cut to ``sizes`` and a run of the full one, or None.

    Args:
        small: the network, cut.
        run: of the full network.
        sizes: what each learnable Size was cut to.
        is_leaf: which modules are taken as a whole, as the graph has them.
        remembers: the network has run before, and may leave out calls whose results it has kept.
    """
    checker = _Checker(small, run.events, sizes, is_leaf, remembers)
    try:
        checker.call(run.example, run.method, training=run.training, forget=run.training)
    except _Disagreement as found:
        reason = f"{found.reason}{line_of_error(found, Runner.call.__code__)}"
        return Mismatch(_sizes_near(run.events, found.position, sizes), reason)
    except FAILURES as error:
        line = line_of_error(error, Runner.call.__code__)
        reason = f"the code of {checker.where} needs it at full size ({first_line(error)}){line}"
        # An assertion is about what was called before it.
        position = checker.position - isinstance(error, AssertionError)
        return Mismatch(_sizes_near(run.events, max(0, position), sizes), reason)
    return None


def _sizes_near(events: list[Event], position: int, sizes: Mapping[Size, int]) -> tuple[Size, ...]:
    """The learnable Sizes of a call, or of the last one before it that has any."""
    for event in reversed(events[: position + 1]):
        axes = [axis for tensor in (*event.inputs, *event.outputs) for axis in tensor if axis_size(axis) > 1]
        found = dict.fromkeys(size for axis in axes for size in axis_sizes(axis) if size in sizes)
        if found:
            return tuple(found)
    return tuple(sizes)
