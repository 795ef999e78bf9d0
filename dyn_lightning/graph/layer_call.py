"""One call of a layer that is taken as a whole, as its rule sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dyn_lightning.errors import SettingError
from dyn_lightning.graph.axes import Axis, axis_size, normal
from dyn_lightning.graph.declared import LAYERS, Features, LayerRule
from dyn_lightning.graph.ints import Attribute
from dyn_lightning.graph.notes import Axes
from dyn_lightning.graph.numbers import name_size
from dyn_lightning.graph.tracer import Tracer
from dyn_lightning.graph.unification import unify


@dataclass
class LayerCall:
    """A call of a layer.

    Attributes:
        t: the tracer.
        name: the layer's qualified name.
        module: the layer.
        rule: of its class.
        inputs: the notes on each tensor that goes in.
        results: the tensors that come out.
        hidden: sizes inside the layer that its price hangs on; for the rule to say.
        features: as the rule of its class has it, where this layer is no other.
        produces: sizes that a table of costs calls learned; as ``features``.
    """

    t: Tracer
    name: str
    module: Any
    rule: LayerRule
    inputs: tuple[Axes, ...]
    results: list[Tensor]
    hidden: tuple[Axis, ...] = ()
    features: Features = "mixed"
    produces: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        return f"{self.name} is called with inputs of different make{self.t.line}"

    @property
    def bound(self) -> dict[str, Any] | None:
        """What the layer's sizes were found to be in a call before; None in the first."""
        return self.t.graph.bindings.get(self.name)

    def bind(self, **sizes: Any) -> dict[str, Any]:
        """Say what the layer's sizes are: an Axis for each, or a list of them.

        Those that the input has are given. Those that the layer makes come of its parameters by themselves, as its
        ``tensors`` say what these are made of, and are answered with the others.

        Raises:
            SettingError: for a size that the layer has not.
        """
        self.rule.check(sizes)
        known = self.bound
        for key, names in self.rule.tensors.items():
            x = getattr(self.module, key, None)
            if x is None:
                continue
            if len(names) != x.dim():
                raise SettingError(f"{type(self.module).__name__}.tensors: {key} has {x.dim()} dimensions")
            noted = self.t.known(x)
            for dim, name in enumerate(names):
                if name is not None and name not in sizes:
                    if name not in self.rule.makes:
                        raise SettingError(f"{type(self.module).__name__}.trace has to bind {name}, which it makes not")
                    made = known[name] if known else noted[dim] if noted else self.make(name, x.shape[dim])
                    sizes[name] = made
            axes = tuple((int(n),) if name is None else sizes[name] for name, n in zip(names, x.shape, strict=True))
            self.t.own(x, axes, self.reason if known else f"{self.name} shares a parameter with another layer")
        return {k: v if isinstance(v, list) else normal(v) for k, v in self._bind(self.name, self.rule, sizes).items()}

    def bind_part(self, part: str, **sizes: Any) -> None:
        """The same for a layer inside this one, whose parameters are its own concern."""
        name = f"{self.name}.{part}"
        self._bind(name, LAYERS[type(self.module.get_submodule(part))], sizes)

    def _bind(self, name: str, rule: LayerRule, new: dict[str, Any]) -> dict[str, Any]:
        """A layer that is called again must meet the sizes that it met before."""
        rule.check(new)
        graph = self.t.graph
        bound = graph.bindings.setdefault(name, new)
        graph.rules[name] = rule
        for key, axis in new.items():
            if bound[key] is not axis and isinstance(axis, tuple) and axis_size(bound[key]) == axis_size(axis):
                unify(bound[key], axis, f"{name} is called with inputs of different make{self.t.line}")
        return bound

    def make(self, size: str, n: int) -> Axis:
        """A new size of the layer's own: the one that it is named after, or one with a name behind its own."""
        part = "" if size == "out_width" else f".{size.removesuffix('_width')}"
        return self.t.new_size(f"{self.name}{part}", int(n))

    def own(self, x: Tensor | None, axes: list[Axis | None]) -> Axes:
        """Notes on a parameter of the layer, dimension by dimension. None stands for a size that it makes."""
        assert x is not None
        known = self.t.known(x)
        made = [
            (known[d] if known else self.make("out_width", n)) if axis is None else axis
            for d, (axis, n) in enumerate(zip(axes, x.shape, strict=True))
        ]
        return self.t.own(x, tuple(made), f"{self.name} shares a parameter with another layer")

    def name_sizes(self) -> None:
        """Tell which Axes the layer's integer attributes are the sizes of.

        Raises:
            SettingError: where the layer lacks an attribute that its class says to be a size.
        """
        for key, names in self.rule.sizes.items():
            if not hasattr(self.module, key):
                raise SettingError(f"{type(self.module).__name__}.sizes: there is no attribute {key}")
            for index, value, axis in _entries(self.module, key, names, self.bound or {}):
                if axis is not None and value == axis_size(axis):
                    name_size(self.t, Attribute(self.name, key, axis_size(axis), index), axis)


def _entries(
    module: nn.Module, key: str, names: str | tuple[str, ...], bound: dict[str, Any]
) -> Iterator[tuple[int | None, int, Axis | None]]:
    """An integer attribute, or each of a tuple's: place, value, and the Axis that it is the size of."""
    value = getattr(module, key)
    found: list[Axis | None] = []
    for name in (names,) if isinstance(names, str) else names:
        axes = bound.get(name)
        found += axes if isinstance(axes, list) else [axes] if axes is not None or isinstance(names, str) else []
    if isinstance(value, tuple):
        yield from zip(range(len(value)), value, found, strict=False)
    elif isinstance(value, int) and found:
        yield None, value, found[0]
