"""Reads a backbone: which sizes are free, which are tied, and what each dimension is made of.

The network runs once on an example input, and every tensor carries a note on each of its dimensions (an Axis)
through the run: Python's own control flow, shape arithmetic and containers need no tracing then. What a layer
or function does to the notes is said in :mod:`dyn_lightning.graph_rules`; a function without a rule fixes the
sizes it touches, and says so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

_counter = itertools.count()


class Size:
    """A layer size found in a network. Tied sizes share one root, the one that was made first.

    Args:
        name: the module that makes it (with ".l0", ".l1", … for the layers of a recurrent one).
        full_size: N.
    """

    def __init__(self, name: str, full_size: int) -> None:
        self.full_size = full_size
        self.names = [name]
        self.groups = 1
        self.reason: str | None = None
        self._parent: Size | None = None
        self._made = next(_counter)

    @property
    def root(self) -> Size:
        return self if self._parent is None else self._parent.root

    def tie(self, other: Size) -> None:
        """Make two sizes one."""
        a, b = sorted((self.root, other.root), key=lambda size: size._made)
        if a is b:
            return
        if a.full_size != b.full_size:
            raise ValueError(f"{a.names[0]} ({a.full_size}) and {b.names[0]} ({b.full_size}) cannot be tied")
        b._parent = a
        a.names += b.names
        a.groups = math.lcm(a.groups, b.groups)
        a.reason = a.reason or b.reason

    def fix(self, reason: str) -> None:
        """Keep this size from being learned. The first reason stands."""
        root = self.root
        root.reason = root.reason or reason

    def group(self, groups: int) -> None:
        """Ask that the size shrinks in this many equal blocks."""
        self.root.groups = math.lcm(self.root.groups, groups)

    def __repr__(self) -> str:
        return f"Size({self.root.names[0]!r}, {self.full_size})"


Axis = tuple[Any, ...]
"""One tensor dimension as a row-major product of factors: ints, and Sizes (in a dynamic network: Widths)."""


def axis_size(axis: Axis) -> int:
    """Full size of an Axis."""
    return math.prod(f if isinstance(f, int) else f.full_size for f in axis)


def axis_sizes(axis: Axis) -> Iterator[Size]:
    """The Sizes in an Axis."""
    return (f for f in axis if isinstance(f, Size))


def make_axis(*factors: Any) -> Axis:
    """An Axis of factors, ones left out and neighbouring ints multiplied: one form for one meaning."""
    merged: list[Any] = []
    for factor in factors:
        if isinstance(factor, int) and merged and isinstance(merged[-1], int):
            merged[-1] *= factor
        elif factor != 1 or not isinstance(factor, int):
            merged.append(factor)
    return tuple(merged) or (1,)


def tie_axes(axes: list[Axis], reason: str) -> Axis:
    """Make several dimensions equal, as an elementwise sum does; where their make differs they are fixed."""
    axes = [a for a in axes if axis_size(a) != 1] or axes[:1]
    first = axes[0]
    for other in axes[1:]:
        alike = len(first) == len(other) and all(
            (a == b) if isinstance(a, int) or isinstance(b, int) else a.full_size == b.full_size
            for a, b in zip(first, other, strict=True)
        )
        for a, b in zip(first, other, strict=True) if alike else ():
            if isinstance(a, Size):
                a.tie(b)
        if not alike:
            for axis in (first, other):
                for size in axis_sizes(axis):
                    size.fix(reason)
    return first


@dataclass(frozen=True)
class Op:
    """One call of a layer or function, for counting.

    ``name``: qualified module name, or "<module>.<function>"; ``kind``: class or function name; ``module``:
    for its hyper-parameters; ``inputs`` and ``outputs``: the axes of each tensor; ``hidden``: for a recurrent
    layer, the hidden size of each of its layers.
    """

    name: str
    kind: str
    module: nn.Module | None
    inputs: tuple[tuple[Axis, ...], ...]
    outputs: tuple[tuple[Axis, ...], ...]
    hidden: tuple[Axis, ...] = ()


@dataclass
class Graph:
    """What a network's run has shown: its free sizes, its operations and how each layer's sizes are bound."""

    sizes: list[Size] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    bindings: dict[str, dict[str, Any]] = field(default_factory=dict)
    fixed: dict[str, str] = field(default_factory=dict)
    """Layers that make no learnable size, and why."""

    def roots(self) -> list[Size]:
        """The distinct sizes, in the order in which the network makes them."""
        return list(dict.fromkeys(size.root for size in self.sizes))


class Tracer(TorchFunctionMode):
    """Runs a network and keeps the notes. ``rules`` says what layers and functions do (see graph_rules)."""

    def __init__(self, network: nn.Module, rules: Any) -> None:
        super().__init__()
        self.network = network
        self.rules = rules
        self.graph = Graph()
        self.path: list[str] = []
        self._leaf_depth = 0

    def axes(self, x: Tensor) -> tuple[Axis, ...]:
        """The notes on a tensor; a tensor without any has fixed dimensions."""
        use: Callable[[], None] | None = x.__dict__.pop("_dyn_on_use", None)
        if use is not None:
            use()
        noted = x.__dict__.get("_dyn_axes")
        return noted if noted is not None else tuple((int(n),) for n in x.shape)

    def note(self, x: Any, axes: tuple[Axis, ...]) -> None:
        """Put notes on a tensor."""
        if isinstance(x, Tensor) and len(axes) == x.dim():
            x.__dict__["_dyn_axes"] = axes

    def new_size(self, name: str, full_size: int) -> Size:
        size = Size(name, full_size)
        self.graph.sizes.append(size)
        return size

    def on_use(self, x: Tensor, action: Callable[[], None]) -> None:
        """Put off what a tensor's making asks for until somebody reads it: an unread result binds nothing."""
        x.__dict__["_dyn_on_use"] = action

    def fix_axes(self, axes: Iterable[tuple[Axis, ...]], reason: str) -> None:
        """Fix every size in the notes of some tensors."""
        for size in (s for tensor in axes for axis in tensor for s in axis_sizes(axis)):
            size.fix(reason)

    def record(self, op: Op) -> None:
        self.graph.ops.append(op)

    @property
    def where(self) -> str:
        return self.path[-1] if self.path and self.path[-1] else "the network"

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        before = None
        if not self._leaf_depth:
            before = tensors_in((args, kwargs or {}))
        out = func(*args, **(kwargs or {}))
        if before is not None:
            self.rules.on_function(self, func, args, kwargs or {}, before, out)
        return out

    def _enter(self, name: str, leaf: bool) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any) -> None:
            self.path.append(name)
            self._leaf_depth += leaf

        return hook

    def _leave(self, name: str, leaf: bool) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            self._leaf_depth -= leaf
            if leaf and not self._leaf_depth:
                self.rules.on_layer(self, name, module, args, kwargs, out)
            self.path.pop()

        return hook

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any], free_outputs: bool = False) -> Graph:
        """Run the network in evaluation mode, without gradients; hooks and mode are put back as they were."""
        modules = dict(self.network.named_modules())
        modes = {m: m.training for m in modules.values()}
        handles = []
        self.rules.on_modules(self, modules)
        for name, module in modules.items():
            leaf = self.rules.is_leaf(module)
            handles.append(module.register_forward_pre_hook(self._enter(name, leaf), prepend=True))
            handles.append(module.register_forward_hook(self._leave(name, leaf), with_kwargs=True))
        try:
            self.network.eval()
            with torch.no_grad(), self:
                out = self.network(*args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()
            for module, mode in modes.items():
                module.training = mode
        outputs = tensors_in(out)
        if not outputs:
            raise TypeError(f"the network answers a {type(out).__name__} in which no tensor was found")
        # Read either way: what a tensor's making has put off happens when its notes are read.
        axes = [self.axes(x) for x in outputs]
        if not free_outputs:
            self.fix_axes(axes, "it is part of the network's output")
        self.rules.on_end(self, modules)
        return self.graph


def read_graph(network: nn.Module, example_input: Any, *, free_outputs: bool = False) -> Graph:
    """Find a network's sizes and operations by running it once.

    Args:
        network: any torch.nn network; left as it was.
        example_input: a tensor, a tuple (positional arguments) or a dict (keyword arguments).
        free_outputs: leave the sizes in the network's output free.

    Raises:
        TypeError: where the network cannot be called with the example input, or answers no tensor.
    """
    from dyn_lightning import graph_rules

    args, kwargs = call_arguments(example_input)
    return Tracer(network, graph_rules).run(args, kwargs, free_outputs)


def tensors_in(tree: Any) -> list[Tensor]:
    """Every tensor in nested containers, packed sequences and dataclasses included."""
    found: list[Tensor] = []
    for leaf in pytree.tree_leaves(tree):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif isinstance(leaf, tuple):
            found += tensors_in(tuple(leaf[:]))
        elif is_dataclass(leaf) and not isinstance(leaf, type):
            found += tensors_in([getattr(leaf, f.name) for f in fields(leaf)])
    return found


def call_arguments(example_input: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """An example input as positional and keyword arguments: a dict is keywords, a tuple positions."""
    if isinstance(example_input, dict):
        return (), example_input
    return (tuple(example_input) if isinstance(example_input, (tuple, list)) else (example_input,)), {}
