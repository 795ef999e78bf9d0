"""What one operation costs, as polynomials in the Widths that its shapes depend on.

Two conventions for FLOPs, for one call with the shapes of the traced example:

- ``full``: everything that runs in inference. A multiply-add is 2, a bias 1 an output; additions, products,
  divisions, comparisons and elementary functions are 1 each; `prices.py` lists what activations cost, in a
  layer of their own, as a function or in the gates of an RNN. Views and copies are free. A complex product is 6 and a
  complex sum 2, so that a complex multiply-add is 8.
- ``paper``: the published counts of arXiv 2601.13704, the convention of moduleprofiler 0.0.4. A Linear or a
  convolution with a bias is 2·in·out there, one without is (2·in − 1)·out; function calls, attention and
  front ends cost nothing. Its GRU, 6TH(I + (2L−1)H + 3.5L), is counted layer by layer here, each with a
  hidden size of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from dyn_lightning.costs import decompositions, front_end, losses, ordering, products, transforms, weighted
from dyn_lightning.costs.base import FUNCTIONS, MODULES, OpCost, function_name
from dyn_lightning.costs.per_element import function_by_element
from dyn_lightning.graph.polynomial import Polynomial

if TYPE_CHECKING:
    from dyn_lightning.graph import Op

__all__ = [
    "OpCost", "decompositions", "front_end", "losses", "op_cost", "ordering", "products", "transforms", "weighted",
]  # fmt: skip


def op_cost(op: Op) -> OpCost:
    """Cost of one operation, exact at any size of the Widths in its axes.

    A layer under ``torch.nn.utils.parametrize`` costs what it costs without, as once its weights are folded.
    """
    if op.module is None:
        found = FUNCTIONS.get(function_name(op.kind), function_by_element)(op) or OpCost(counted=False)
        return found if op.times == 1 else replace(found, flops_full=op.times * found.flops_full)
    if not MODULES:
        raise RuntimeError("no layer's price is known: import dyn_lightning.layers first")
    kind = next((k for k in type(op.module).__mro__ if not k.__name__.startswith("Parametrized")), nn.Module)
    price = MODULES.get(kind)
    cost = None if price is None else price(op)
    if cost is not None:
        return cost
    parameters = sum(p.numel() for p in op.module.parameters())
    return OpCost(params=Polynomial.constant(parameters), counted=False)
