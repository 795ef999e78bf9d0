"""Runs a network once and keeps notes on every tensor's dimensions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from dyn_lightning.errors import first_line
from dyn_lightning.graph.axes import Axis, Size, axis_size, fix_sizes, is_free, normal
from dyn_lightning.graph.ints import Attribute, NotedInt, note_attributes, watch_equal
from dyn_lightning.graph.notes import Axes, Event, Graph, Op, Pass, Trail
from dyn_lightning.graph.numbers import agree, solve
from dyn_lightning.graph.runner import Runner
from dyn_lightning.graph.unification import unify
from dyn_lightning.graph.untouched import weights_kept
from dyn_lightning.inputs import tensors_in


class Tracer(Runner):
    """Keeps the notes. ``rules`` says what layers and functions do (see :mod:`dyn_lightning.graph.rules`)."""

    def __init__(self, network: nn.Module, rules: Any) -> None:
        super().__init__(network, rules.is_leaf)
        self.rules = rules
        self.graph = Graph()
        self.current = Pass(None)
        self.pending: list[tuple[Any, Axis, str]] = []
        self.layer_sizes: dict[Attribute, Axis] = {}
        self._own: dict[int, tuple[str, str]] = {}
        self._notes: dict[int, tuple[Tensor, Axes]] = {}
        self._holders: dict[int, str] = {}
        # Beside the tensors, not on them: some are the backbone's own, or the example's.
        self._axes: Any = WeakIdKeyDictionary()
        self._trails: Any = WeakIdKeyDictionary()
        self._on_use: Any = WeakIdKeyDictionary()
        for name, module in network.named_modules():
            for store in (module._parameters, module._buffers):
                for key, tensor in store.items():
                    if tensor is not None:
                        self._own.setdefault(id(tensor), (name, key))

    def axes(self, x: Tensor) -> Axes:
        """The notes on a tensor; a tensor without any has fixed dimensions."""
        if (trail := self.trail(x)) is not None:
            trail.reads[-1].add(len(self.current.events))
        use: Callable[[], None] | None = self._on_use.pop(x, None)
        if use is not None:
            use()
        noted = self._axes.get(x)
        if noted is None and id(x) in self._own:
            noted = self._bare(x)
        if noted is None:
            return tuple((int(n),) for n in x.shape)
        return tuple(map(normal, noted))

    def note(self, x: Any, axes: Axes) -> None:
        """Put notes on a tensor."""
        if isinstance(x, Tensor) and len(axes) == x.dim():
            self._axes[x] = axes

    def trail(self, x: Tensor) -> Trail | None:
        """Where a tensor's features come from, if they are those of a layer still."""
        found: Trail | None = self._trails.get(x)
        return found

    def lead(self, x: Any, trail: Trail | None) -> None:
        """Say where a tensor's features come from."""
        if isinstance(x, Tensor):
            self._trails[x] = trail
            if trail is not None and trail.norm:
                self.current.trails.append(trail)

    def own(self, x: Tensor, axes: Axes, reason: str) -> Axes:
        """Notes on a parameter or buffer of a layer; where it has some already, both must agree."""
        known = self._notes.get(id(x))
        if known is None:
            self._notes[id(x)] = (x, axes)
            return axes
        return tuple(unify(a, b, reason) for a, b in zip(known[1], axes, strict=True))

    def owner(self, x: Tensor, levels: int = 1) -> nn.Module | None:
        """The module that a parameter belongs to, or one that holds it some levels up; None for any other tensor."""
        place = self._own.get(id(x))
        names = [] if place is None else place[0].split(".")
        return self.network.get_submodule(".".join(names[: len(names) - levels + 1])) if len(names) >= levels else None

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
        self._on_use[x] = action

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
        self.current.ops.append(op)
        self.current.events.append(Event(op.name, self.where, op.inputs, op.outputs))

    def on_layer(self, name: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        self.rules.on_layer(self, name, module, args, kwargs, out)

    def on_function(self, func: Any, args: Any, kwargs: Any) -> Any:
        return self.rules.on_function(self, func, args, kwargs)

    def run(self, passes: Iterable[Pass], free_outputs: bool = False) -> Graph:
        """Run the network, once for each pass, and find its sizes.

        A pass in training mode may fail, and is left out where it calls what the pass before it has called.

        Raises:
            TypeError: where the network answers no tensor in the first pass.
        """
        modules = dict(self.network.named_modules())
        self.rules.on_modules(self, modules)
        restore = note_attributes(modules)
        watch_equal(lambda a, b: None if self._leaf_depth else self.rules.on_equal(self, a, b))
        try:
            with weights_kept(self.network):
                for p in passes:
                    self._pass(p, free_outputs)
        finally:
            watch_equal(None)
            restore()
        solve(self)
        self.rules.on_end(self)
        self.graph.unreached = self._unreached(modules)
        return self.graph

    def _pass(self, p: Pass, free_outputs: bool) -> None:
        self.current = p
        before = self.graph.passes[-1] if self.graph.passes else None
        try:
            out = self.call(p.example, p.method, training=p.training)
        except Exception as error:
            if not p.training:
                raise
            self.graph.failed = self.graph.failed or first_line(error)
            return
        p.calls = self.calls
        outputs = tensors_in(out)
        if not outputs and before is None:
            raise TypeError(f"the network answers a {type(out).__name__} in which no tensor was found")
        # Read either way: what a tensor's making has put off happens when its notes are read.
        axes = [self.axes(x) for x in outputs]
        if not free_outputs and p.method == "forward":
            self.fix_axes(axes, "it is part of the network's output")
        if not (p.training and before is not None and before.calls == p.calls):
            self.graph.passes.append(p)

    def _unreached(self, modules: dict[str, nn.Module]) -> list[str]:
        """Modules no part of which any pass has used, outermost ones alone, and parameters that no pass has read."""

        def visit(name: str, module: nn.Module) -> tuple[bool | None, list[str]]:
            """Whether anything in it was used (None: it has no parameters), and what in it was not."""
            own = {f"{name}.{key}".strip("."): p for key, p in module._parameters.items() if p is not None}
            unread = [key for key, p in own.items() if p.numel() > 1 and id(p) not in self._notes]
            used = name in self.entered or len(unread) < len([p for p in own.values() if p.numel() > 1])
            if used and self.is_leaf(module):
                return True, []
            inner = {f"{name}.{key}".strip("."): m for key, m in module._modules.items() if m is not None}
            parts = {key: visit(key, m) for key, m in inner.items() if key in modules}
            if used or any(state for state, _ in parts.values()):
                for key, (state, more) in parts.items():
                    unread += [key] if state is False else more
                return True, unread
            return (False if unread or any(state is False for state, _ in parts.values()) else None), []

        return visit("", self.network)[1]
