"""Integers that remember where they come from, so that a shape in the network's code can follow a learned size.

While a network is being read, ``x.shape`` and the integer attributes of its modules are NotedInts. What reaches a
function as a shape then tells whether it will change with a size (it came from a shape), must be changed with it (it
came from an attribute), or never will (a number in the code).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from dyn_lightning.graph.axes import Axis


@dataclass(frozen=True)
class Attribute:
    """An integer attribute of a module, or one entry of a tuple or list of integers."""

    module: str
    name: str
    value: int
    index: int | None = None

    def __str__(self) -> str:
        where = f"{self.module}.{self.name}" if self.module else self.name
        return where if self.index is None else f"{where}[{self.index}]"


@dataclass(frozen=True)
class Result:
    """An operation on integers of which one at least is noted."""

    sign: str
    left: Any
    right: Any


class NotedInt(int):
    """An int with its source: an Axis, an Attribute or a Result."""

    source: Any

    def __new__(cls, value: int, source: Any) -> NotedInt:
        noted = super().__new__(cls, value)
        noted.source = source
        return noted

    def __eq__(self, other: object) -> bool:
        if isinstance(other, NotedInt) and int(self) == int(other) and _on_equal is not None:
            _on_equal(self, other)
        return int(self) == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__

    def __reduce__(self) -> Any:
        return int, (int(self),)

    def __deepcopy__(self, memo: Any) -> int:
        return int(self)


_on_equal: Callable[[NotedInt, NotedInt], None] | None = None


def watch_equal(action: Callable[[NotedInt, NotedInt], None] | None) -> None:
    """Call ``action`` whenever two NotedInts are compared and found equal (None: no more)."""
    global _on_equal
    _on_equal = action


def source(value: Any) -> Any:
    """What is known of an integer: its source, or itself where it is a plain number."""
    return value.source if isinstance(value, NotedInt) else int(value)


def _operation(sign: str, plain: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    def forward(self: NotedInt, other: Any) -> Any:
        if not isinstance(other, int):
            return plain(int(self), other) if isinstance(other, float) else NotImplemented
        return NotedInt(plain(int(self), int(other)), Result(sign, self.source, source(other)))

    def backward(self: NotedInt, other: Any) -> Any:
        if not isinstance(other, int):
            return plain(other, int(self)) if isinstance(other, float) else NotImplemented
        return NotedInt(plain(int(other), int(self)), Result(sign, source(other), self.source))

    return forward, backward


for _sign, _name, _plain in (
    ("+", "add", lambda a, b: a + b),
    ("-", "sub", lambda a, b: a - b),
    ("*", "mul", lambda a, b: a * b),
    ("//", "floordiv", lambda a, b: a // b),
):
    _forward, _backward = _operation(_sign, _plain)
    setattr(NotedInt, f"__{_name}__", _forward)
    setattr(NotedInt, f"__r{_name}__", _backward)


def attributes(source_: Any) -> Iterator[Attribute]:
    """The attributes in a source."""
    if isinstance(source_, Attribute):
        yield source_
    elif isinstance(source_, Result):
        yield from attributes(source_.left)
        yield from attributes(source_.right)


def note_attributes(modules: dict[str, nn.Module]) -> Callable[[], None]:
    """Make NotedInts of the modules' integer attributes; the result puts them back as they were."""
    saved: list[tuple[nn.Module, str, Any]] = []
    for name, module in modules.items():
        for key, value in list(vars(module).items()):
            if key.startswith("_") or key == "training":
                continue
            noted: Any = None
            if type(value) is int and value > 1:
                noted = NotedInt(value, Attribute(name, key, value))
            elif type(value) in (tuple, list) and value and all(type(v) is int for v in value):
                noted = type(value)(NotedInt(v, Attribute(name, key, v, i)) for i, v in enumerate(value))
            if noted is not None:
                saved.append((module, key, value))
                module.__dict__[key] = noted

    def restore() -> None:
        for module, key, value in saved:
            module.__dict__[key] = value

    return restore


def is_shape(source_: Any) -> bool:
    """Whether a source is an Axis, as those of shapes are."""
    return isinstance(source_, tuple)


__all__ = ["Attribute", "Axis", "NotedInt", "Result", "attributes", "is_shape", "note_attributes", "source"]
