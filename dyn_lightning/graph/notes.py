"""What is noted of a network's run: its sizes, its calls, and what became of the features that layers made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from dyn_lightning.graph.axes import Axis, Size, axis_sizes
from dyn_lightning.graph.ints import Attribute

Axes = tuple[Axis, ...]


@dataclass(frozen=True)
class Op:
    """One call of a layer or function, for counting.

    ``name``: qualified module name, or "<module>.<function>"; ``kind``: class or function name; ``module``:
    for its hyper-parameters; ``inputs`` and ``outputs``: the axes of each tensor; ``hidden``: for a recurrent
    layer, the hidden size of each of its layers (and its projection); for attention, its heads and the sizes of each
    one's keys and values; ``detail``: the equation of an einsum, the number of inputs to each output of pooling;
    ``shared``: the axes of its parameters that a layer called before it has as well.
    """

    name: str
    kind: str
    module: nn.Module | None
    inputs: tuple[Axes, ...]
    outputs: tuple[Axes, ...]
    hidden: tuple[Axis, ...] = ()
    detail: Any = None
    shared: tuple[Axes, ...] = ()


@dataclass(frozen=True)
class Event:
    """One call as it was seen, to be seen again when sizes have changed: see :mod:`dyn_lightning.graph.verify`."""

    name: str
    where: str
    inputs: tuple[Axes, ...]
    outputs: tuple[Axes, ...]


@dataclass
class Trail:
    """What has become of a layer's features, element by element, since it made them.

    Attributes:
        maker: the layer.
        reads: for each tensor on the way, the calls that have read it.
        norm: the norm that they have just come from, which treats each element by itself.
    """

    maker: str
    reads: list[set[int]] = field(default_factory=lambda: [set()])
    norm: str = ""

    def onward(self, norm: str = "") -> Trail:
        """The trail of what has been made of this one's last tensor alone."""
        return Trail(self.maker, [*self.reads, set()], norm)


@dataclass
class Graph:
    """What a network's run has shown.

    Attributes:
        sizes: every Size that was made.
        ops: the calls, for counting.
        bindings: for each layer, what its sizes are made of: ``in_axis``, ``out`` (Axes), ``hidden``.
        bare: parameters and buffers that the network's code uses by themselves, as (module, name) → Axes.
        attributes: integer attributes that must follow sizes.
        fixed: layers that make no learnable size, and why.
        events: every call in its order.
        trails: what became of features as far as a norm that treats each element by itself.
    """

    sizes: list[Size] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    bindings: dict[str, dict[str, Any]] = field(default_factory=dict)
    bare: dict[tuple[str, str], Axes] = field(default_factory=dict)
    attributes: dict[Attribute, Axis] = field(default_factory=dict)
    fixed: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    trails: list[Trail] = field(default_factory=list)

    def roots(self) -> list[Size]:
        """The distinct sizes, in the order in which the network makes them."""
        found: dict[Size, None] = {}
        for size in self.sizes:
            parts = list(axis_sizes((size,)))
            free = [part for part in parts if part.reason is None]
            if size.root.definition is not None and not free:
                # What it is made of is of interest only where it can be learned.
                size.root.reason = size.root.reason or parts[0].reason
                parts = [size.root]
            elif size.root.definition is not None:
                parts = free
            found |= dict.fromkeys(parts)
        return [size for size in found if not (size.weak and size.reason)]
