"""Runs a network once and keeps notes on every tensor's dimensions: Python's own control flow needs no tracing then."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from dyn_lightning.graph.axes import Axis, Size, axis_size, axis_sizes, fix_sizes, is_free, normal, unify
from dyn_lightning.graph.ints import Attribute, NotedInt, note_attributes, watch_equal
from dyn_lightning.graph.numbers import agree, solve

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


class Runner(TorchFunctionMode):
    """Runs a network and reports each call of a layer (as a whole) or a function outside such layers."""

    def __init__(self, network: nn.Module, is_leaf: Callable[[nn.Module], bool]) -> None:
        super().__init__()
        self.network = network
        self.is_leaf = is_leaf
        self.path: list[str] = []
        self._leaf_depth = 0

    @property
    def where(self) -> str:
        """The module whose code is running."""
        return self.path[-1] if self.path and self.path[-1] else "the network"

    def on_layer(self, name: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        raise NotImplementedError

    def on_function(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Call the function; the result is what its caller gets."""
        raise NotImplementedError

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self._leaf_depth:
            return func(*args, **(kwargs or {}))
        return self.on_function(func, args, kwargs or {})

    def _enter(self, name: str, leaf: bool) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any) -> None:
            self.path.append(name)
            self._leaf_depth += leaf

        return hook

    def _leave(self, name: str, leaf: bool) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            if leaf and self._leaf_depth == 1 and out is not None:
                # Still inside: what the rule itself asks of tensors is none of the network's doing.
                self.on_layer(name, module, args, kwargs, out)
            self._leaf_depth -= leaf
            self.path.pop()

        return hook

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the network in evaluation mode, without gradients; hooks and mode are put back as they were."""
        modules = dict(self.network.named_modules())
        modes = {m: m.training for m in modules.values()}
        handles = []
        for name, module in modules.items():
            leaf = self.is_leaf(module)
            handles.append(module.register_forward_pre_hook(self._enter(name, leaf), prepend=True))
            # Also after an error: some networks try a call, and make another one where it fails.
            handles.append(module.register_forward_hook(self._leave(name, leaf), with_kwargs=True, always_call=True))
        try:
            self.network.eval()
            with torch.no_grad(), self:
                return self.network(*args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()
            for module, mode in modes.items():
                module.training = mode


class Tracer(Runner):
    """Keeps the notes. ``rules`` says what layers and functions do (see :mod:`dyn_lightning.graph.rules`)."""

    def __init__(self, network: nn.Module, rules: Any) -> None:
        super().__init__(network, rules.is_leaf)
        self.rules = rules
        self.graph = Graph()
        self.pending: list[tuple[Any, Axis, str]] = []
        self.layer_sizes: dict[Attribute, Axis] = {}
        self._own: dict[int, tuple[str, str]] = {}
        self._notes: dict[int, tuple[Tensor, Axes]] = {}
        self._holders: dict[int, str] = {}
        for name, module in network.named_modules():
            for store in (module._parameters, module._buffers):
                for key, tensor in store.items():
                    if tensor is not None:
                        self._own.setdefault(id(tensor), (name, key))

    def axes(self, x: Tensor) -> Axes:
        """The notes on a tensor; a tensor without any has fixed dimensions."""
        if (trail := self.trail(x)) is not None:
            trail.reads[-1].add(len(self.graph.events))
        use: Callable[[], None] | None = x.__dict__.pop("_dyn_on_use", None)
        if use is not None:
            use()
        noted = x.__dict__.get("_dyn_axes")
        if noted is None and id(x) in self._own:
            noted = self._bare(x)
        if noted is None:
            return tuple((int(n),) for n in x.shape)
        return tuple(map(normal, noted))

    def note(self, x: Any, axes: Axes) -> None:
        """Put notes on a tensor."""
        if isinstance(x, Tensor) and len(axes) == x.dim():
            x.__dict__["_dyn_axes"] = axes

    def trail(self, x: Tensor) -> Trail | None:
        """Where a tensor's features come from, if they are those of a layer still."""
        found: Trail | None = x.__dict__.get("_dyn_trail")
        return found

    def lead(self, x: Any, trail: Trail | None) -> None:
        """Say where a tensor's features come from."""
        if isinstance(x, Tensor):
            x.__dict__["_dyn_trail"] = trail
            if trail is not None and trail.norm:
                self.graph.trails.append(trail)

    def own(self, x: Tensor, axes: Axes, reason: str) -> Axes:
        """Notes on a parameter or buffer of a layer; where it has some already, both must agree."""
        known = self._notes.get(id(x))
        if known is None:
            self._notes[id(x)] = (x, axes)
            return axes
        return tuple(unify(a, b, reason) for a, b in zip(known[1], axes, strict=True))

    def known(self, x: Tensor) -> Axes | None:
        """Notes on a parameter or buffer that it has already."""
        return self._notes[id(x)][1] if id(x) in self._notes else None

    def shared(self, name: str, module: nn.Module) -> tuple[Axes, ...]:
        """The notes on a layer's parameters that a layer called before it has as well."""
        parameters = [p for p in module.parameters() if self._holders.setdefault(id(p), name) != name]
        return tuple(self.known(p) or self.fixed_axes(p) for p in parameters)

    def bare_parameters(self) -> Iterable[Axes]:
        """The notes on parameters that the code uses by themselves."""
        own = ((x, self._own[key]) for key, (x, _) in self._notes.items() if key in self._own)
        return (self.graph.bare[place] for x, place in own if isinstance(x, nn.Parameter) and place in self.graph.bare)

    def _bare(self, x: Tensor) -> Axes:
        """Notes on a parameter or buffer that is used outside a layer's own call."""
        module, key = self._own[id(x)]
        if id(x) not in self._notes:
            made = []
            for dim, n in enumerate(x.shape):
                produces = dim == 0 and x.dim() > 1 and key.startswith(("weight", "original"))
                name = (module.removesuffix(".parametrizations.weight") or key) if produces else f"{module}.{key}.{dim}"
                made.append(self.new_size(name.strip("."), int(n), weak=not produces))
            self._notes[id(x)] = (x, tuple(made))
        self.graph.bare[module, key] = self._notes[id(x)][1]
        return self._notes[id(x)][1]

    def new_size(self, name: str, full_size: int, *, weak: bool = False) -> Axis:
        """The Axis of a new Size."""
        size = Size(name, full_size, weak=weak)
        self.graph.sizes.append(size)
        if full_size == 1:
            size.fix("it has one element")
        return (size,)

    def on_use(self, x: Tensor, action: Callable[[], None]) -> None:
        """Put off what a tensor's making asks for until somebody reads it: an unread result binds nothing."""
        x.__dict__["_dyn_on_use"] = action

    def fix_axes(self, axes: Iterable[Axes], reason: str) -> None:
        """Fix every size in the notes of some tensors."""
        for tensor in axes:
            for axis in tensor:
                fix_sizes(axis, reason)

    def require(self, number: Any, axis: Axis) -> None:
        """A dimension was given as this number: see that the number will follow the dimension's sizes."""
        if is_free(axis) and int(number) == axis_size(axis):
            agree(self, number, axis)

    def fixed_axes(self, x: Tensor) -> Axes:
        return tuple((int(n),) for n in x.shape)

    def noted_shape(self, x: Tensor) -> torch.Size:
        """A tensor's shape in numbers that remember it."""
        return torch.Size([NotedInt(axis_size(axis), axis) for axis in self.axes(x)])

    def record(self, op: Op) -> None:
        self.graph.ops.append(op)
        self.graph.events.append(Event(op.name, self.where, op.inputs, op.outputs))

    def on_layer(self, name: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        self.rules.on_layer(self, name, module, args, kwargs, out)

    def on_function(self, func: Any, args: Any, kwargs: Any) -> Any:
        return self.rules.on_function(self, func, args, kwargs)

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any], free_outputs: bool = False) -> Graph:
        """Run the network and find its sizes."""
        modules = dict(self.network.named_modules())
        self.rules.on_modules(self, modules)
        restore = note_attributes(modules)
        recurrent = [m for m in modules.values() if isinstance(m, nn.RNNBase)]
        for module in recurrent:
            # Called by hand before a forward pass, it would look like the code's own use of the weights.
            module.__dict__["flatten_parameters"] = lambda: None
        watch_equal(lambda a, b: None if self._leaf_depth else self.rules.on_equal(self, a, b))
        try:
            out = self.call(args, kwargs)
        finally:
            watch_equal(None)
            restore()
            for module in recurrent:
                del module.__dict__["flatten_parameters"]
        outputs = tensors_in(out)
        if not outputs:
            raise TypeError(f"the network answers a {type(out).__name__} in which no tensor was found")
        # Read either way: what a tensor's making has put off happens when its notes are read.
        axes = [self.axes(x) for x in outputs]
        if not free_outputs:
            self.fix_axes(axes, "it is part of the network's output")
        solve(self)
        self.rules.on_end(self)
        return self.graph


def tensors_in(tree: Any) -> list[Tensor]:
    """Every tensor in nested containers, packed sequences and dataclasses included."""
    found: list[Tensor] = []
    for leaf in pytree.tree_leaves(tree):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif isinstance(leaf, tuple):
            found += tensors_in(tuple(leaf[:]))
        elif isinstance(leaf, dict):
            found += tensors_in(dict(leaf))
        elif is_dataclass(leaf) and not isinstance(leaf, type):
            found += tensors_in([getattr(leaf, f.name) for f in fields(leaf)])
    return found


def call_arguments(example_input: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """An example input as positional and keyword arguments: a dict is keywords, a tuple positions."""
    if isinstance(example_input, dict):
        return (), example_input
    return (tuple(example_input) if isinstance(example_input, (tuple, list)) else (example_input,)), {}
