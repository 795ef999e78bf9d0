"""What is noted of a network's run: its sizes, its calls, and what became of the features that layers made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
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
    ``shared``: the axes of its parameters that a layer called before it has as well; ``complexes``: of each tensor
    that goes in and has no integers, whether its numbers are complex (a layer's weights are as its input is);
    ``times``: how often it runs for one call in the code, as torch.vmap has it; ``runs``: False where the pass that is
    counted does not run it, so that only its parameters count; ``makes``: the sizes that a layer makes.
    """

    name: str
    kind: str
    module: nn.Module | None
    inputs: tuple[Axes, ...]
    outputs: tuple[Axes, ...]
    hidden: tuple[Axis, ...] = ()
    detail: Any = None
    shared: tuple[Axes, ...] = ()
    runs: bool = True
    complexes: tuple[bool, ...] = ()
    times: int = 1
    makes: tuple[Axis, ...] = ()

    @property
    def product_and_sum(self) -> tuple[int, int]:
        """Real FLOPs of one product and of one sum: 6 and 2 where all numbers are complex, 2 and 2 where some are."""
        if not any(self.complexes):
            return 1, 1
        return (6 if all(self.complexes) else 2), 2

    def with_sizes(self, resolve: Callable[[Axis], Axis], module: nn.Module | None = None) -> Op:
        """The same call, every dimension put through ``resolve``, of the layer's twin in another network."""

        def each(tensors: tuple[Axes, ...]) -> tuple[Axes, ...]:
            return tuple(tuple(resolve(axis) for axis in x) for x in tensors)

        return replace(
            self,
            module=module,
            inputs=each(self.inputs),
            outputs=each(self.outputs),
            hidden=tuple(map(resolve, self.hidden)),
            shared=each(self.shared),
            makes=tuple(map(resolve, self.makes)),
        )


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
class Pass:
    """One run of a network, which :mod:`dyn_lightning.graph.verify` repeats at other sizes.

    Attributes:
        example: the input: a tensor, a tuple (positional arguments) or a dict (keyword arguments).
        method: which of the network's methods is called.
        training: whether in training mode; batch norms stay in evaluation, so that they take a batch of one.
        ops: the calls, for counting.
        events: every call in its order.
        calls: the names of all functions and layers, those that answer no tensor among them.
        trails: what became of features as far as a norm that treats each element by itself.
    """

    example: Any
    method: str = "forward"
    training: bool = False
    ops: list[Op] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    trails: list[Trail] = field(default_factory=list)


@dataclass
class Graph:
    """What runs of a network have shown.

    Attributes:
        passes: the runs; costs are those of the first.
        sizes: every Size that was made.
        bindings: for each layer, what its sizes are: an Axis, or a list of them, under each size's name.
        rules: the rule of each of these layers (a ``LayerRule``).
        bare: parameters and buffers that the network's code uses by themselves, as (module, name) → Axes.
        attributes: integer attributes that must follow sizes.
        fixed: layers that make no learnable size, and why.
        unreached: modules and parameters that no pass has used.
        failed: why training mode could not be run, if so.
    """

    passes: list[Pass] = field(default_factory=list)
    sizes: list[Size] = field(default_factory=list)
    bindings: dict[str, dict[str, Any]] = field(default_factory=dict)
    rules: dict[str, Any] = field(default_factory=dict)
    bare: dict[tuple[str, str], Axes] = field(default_factory=dict)
    attributes: dict[Attribute, Axis] = field(default_factory=dict)
    fixed: dict[str, str] = field(default_factory=dict)
    unreached: list[str] = field(default_factory=list)
    failed: str | None = None

    @property
    def ops(self) -> list[Op]:
        """The calls of the pass that is counted."""
        return self.passes[0].ops

    @property
    def events(self) -> list[Event]:
        """Every call of the pass that is counted, in its order."""
        return self.passes[0].events

    def all_ops(self) -> Iterator[Op]:
        """The calls of every pass."""
        for p in self.passes:
            yield from p.ops

    def uncounted(self) -> list[Op]:
        """Layers that other passes alone have called, each once."""
        counted = {op.name for op in self.ops}
        others = {op.name: op for p in self.passes[1:] for op in p.ops if op.module and op.name not in counted}
        return [replace(op, runs=False) for op in others.values()]

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

    def whole(self, modules: Mapping[str, nn.Module]) -> list[Size]:
        """Sizes of parameters that the code uses by themselves, and that nothing else has, which stay whole."""
        trained = [axes for (name, key), axes in self.bare.items() if key in modules[name]._parameters]
        found = dict.fromkeys(size for axes in trained for axis in axes for size in axis_sizes(axis))
        return [size for size in found if size.weak and size.reason and size.full_size > 1]
