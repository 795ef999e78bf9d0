"""Makes a layer's declaration known: to what reads a network, to what counts its cost, and to what writes it down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from dyn_lightning.costs.base import MODULES, Formula
from dyn_lightning.graph.declared import LAYERS, LayerRule
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.notes import Axes

Trace = Callable[[LayerCall], list[Axes]]


def declare(*kinds: type[nn.Module], trace: Trace, price: Formula, by: Any = None, **more: Any) -> None:
    """Take layers as a whole.

    Args:
        kinds: their classes.
        trace: what a call does to Axes: answers those of each result.
        price: what a call costs.
        by: the class that declares them.
        more: what else a :class:`~dyn_lightning.graph.declared.LayerRule` says.

    Raises:
        SettingError: where one of the classes is declared already.
    """
    for kind in kinds:
        LAYERS.add(kind, LayerRule(kind, trace, **more), by=by)
        MODULES.add(kind, price, by=by)
