"""One call of a function, as the rules see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dyn_lightning.graph.axes import Axis, is_free
from dyn_lightning.graph.notes import Axes
from dyn_lightning.graph.tracer import Tracer


@dataclass
class Call:
    """One call of a function outside the layers that are taken as a whole.

    ``hidden``: sizes inside it that its price hangs on, for a rule to say; see ``Op.hidden``.
    """

    t: Tracer
    name: str
    args: Any
    kwargs: Any
    tensors: list[Tensor]
    inputs: tuple[Axes, ...]
    results: list[Tensor]
    hidden: tuple[Axis, ...] = ()

    def argument(self, position: int, *names: str, default: Any = None) -> Any:
        for name in names:
            if name in self.kwargs:
                return self.kwargs[name]
        return self.args[position] if len(self.args) > position else default

    def numbers(self, position: int, *names: str) -> list[Any]:
        """Sizes given one by one or as one sequence."""
        for name in names:
            if name in self.kwargs:
                value = self.kwargs[name]
                return [value] if isinstance(value, int) else list(value)
        given = self.args[position:]
        return list(given[0]) if given and not isinstance(given[0], int) else list(given)

    @property
    def reason(self) -> str:
        return f"the function {self.name} in {self.t.where} is not known to keep it apart{self.t.line}"

    def keep_whole(self, axes: Iterable[Axis], reason: str) -> None:
        """Fix dimensions as soon as somebody reads a result."""
        learned = tuple(filter(is_free, axes))
        for x in self.results if learned else ():
            self.t.on_use(x, lambda: self.t.fix_axes([learned], reason))

    def plain(self, x: Tensor) -> Axes:
        return self.t.fixed_axes(x)


Rule = Callable[[Call], list[Axes] | None]
