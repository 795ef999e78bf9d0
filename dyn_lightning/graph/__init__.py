"""Reads a backbone: which sizes are free, which are tied, and what each dimension is made of.

The network runs once on an example input, and every tensor carries a note on each of its dimensions (an Axis)
through the run: Python's own control flow and containers need no tracing then. What a layer or function does to the
notes is said by the rules in :mod:`.products` and :mod:`.shapes`, and by each layer's own class in
:mod:`dyn_lightning.layers`, which registers it in :mod:`.declared`; a function without a rule fixes the sizes it
touches, and says so. :mod:`.verify` runs the network again at other sizes and finds the call that does not agree.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from dyn_lightning.graph.axes import Axis, Size, Sum, axis_size, axis_sizes, fix_sizes, make_axis, normal, substitute
from dyn_lightning.graph.declared import LAYERS
from dyn_lightning.graph.notes import Event, Graph, Op, Pass
from dyn_lightning.graph.tracer import Tracer
from dyn_lightning.graph.unification import unify

__all__ = [
    "Axis", "Event", "Graph", "Op", "Pass", "Size", "Sum", "axis_size", "axis_sizes", "fix_sizes",
    "make_axis", "normal", "read_graph", "substitute", "unify",
]  # fmt: skip


def read_graph(
    network: nn.Module, example_input: Any, *, free_outputs: bool = False, also: Iterable[Pass] = ()
) -> Graph:
    """Find a network's sizes and operations by running it.

    Args:
        network: any torch.nn network; left as it was.
        example_input: a tensor, a tuple (positional arguments) or a dict (keyword arguments).
        free_outputs: leave the sizes in the network's output free.
        also: further runs, whose sizes are found too; the operations are those of the example input in evaluation mode.

    Raises:
        RuntimeError: where no layer is declared, for nothing has imported :mod:`dyn_lightning.layers`.
        TypeError: where the network cannot be called with the example input, or answers no tensor.
    """
    from dyn_lightning.graph import rules

    if not LAYERS:
        raise RuntimeError("no layer is known: import dyn_lightning.layers first")
    return Tracer(network, rules).run([Pass(example_input), *also], free_outputs)
