"""How layers that are taken as a whole are read: the table that :mod:`dyn_lightning.layers` fills, a rule a class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from dyn_lightning.errors import SettingError
from dyn_lightning.graph.notes import Axes
from dyn_lightning.registry import Registry

Features = Literal["made", "each", "normed", "mixed"]
"""What a layer does to features: it makes them; treats each by itself; so does a norm; or it mixes them."""

Roles = Mapping[str, tuple[str | None, ...]]
"""For each parameter or buffer, the size that each of its dimensions is; None: it is no size that is learned."""


@dataclass(frozen=True)
class LayerRule:
    """How one class of layers is read.

    Attributes:
        plain: the class; one derived of it may compute something else, and is not taken by this rule.
        trace: what a call does to Axes: answers those of each result.
        sizes: integer attribute → the size that it is, or for a tuple the sizes of its entries.
        tensors: parameter or buffer → the size of each of its dimensions.
        makes: sizes that the layer makes; others are those of its input.
        more: further sizes, which no attribute names.
        whole: sizes that the code behind the layer cannot take apart.
        features: what the layer does to features, for boundary noise to find its place.
        followed: whether a class derived of it can be followed by the functions that it calls.
    """

    plain: type[nn.Module]
    trace: Callable[[Any], list[Axes]]
    sizes: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    tensors: Roles = field(default_factory=dict)
    makes: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    features: Features = "mixed"
    followed: bool = True

    @property
    def names(self) -> set[str]:
        """The names of all sizes."""
        named = [names if isinstance(names, tuple) else (names,) for names in self.sizes.values()]
        return {name for names in (*named, *self.tensors.values(), self.makes, self.more) for name in names if name}

    def check(self, given: Mapping[str, Any]) -> None:
        """Raises SettingError where a size is named that the layer has not."""
        if odd := sorted(given.keys() - self.names):
            known = ", ".join(sorted(self.names)) or "none"
            raise SettingError(f"{self.plain.__name__} has no size {', '.join(odd)}: its sizes are {known}")


LAYERS: Registry[type[nn.Module], LayerRule] = Registry("rule")


def rule_of(module: nn.Module) -> LayerRule | None:
    """The rule of a layer's own class."""
    found: LayerRule | None = LAYERS.get(type(module))
    return found


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is taken as a whole, rather than by the functions that it calls.

    A subclass may compute something else than its torch.nn class does, and so does a layer whose weight is computed
    (by a hook, as weight_norm does): these are taken by their functions.
    """
    if type(module) not in LAYERS:
        return False
    own = [name for name, value in vars(module).items() if isinstance(value, Tensor)]
    # A hook's tensor stands beside the parameters that it is made of: weight_hh_l0 beside weight_hh_l0_g.
    return not any(n in ("weight", "bias") or any(p.startswith(f"{n}_") for p in module._parameters) for n in own)
