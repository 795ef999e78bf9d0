"""Cost of what sorts, searches and counts values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dyn_lightning.costs.base import OpCost, full_size, numel, prices_functions, size
from dyn_lightning.graph.polynomial import Polynomial

if TYPE_CHECKING:
    from dyn_lightning.graph import Op


def _halvings(n: int) -> int:
    """Comparisons that find one of n + 1 places, or that each of n values takes part in when they are sorted."""
    return math.ceil(math.log2(max(1, n)))


def _elements(op: Op, which: int) -> int:
    return math.prod(full_size(axis) for axis in op.inputs[which])


@prices_functions("sort", "argsort", "msort")
def _sort(op: Op) -> OpCost | None:
    """n·log2(n) comparisons for each row of n."""
    if op.detail is None:
        return None
    return OpCost(numel(op.inputs[0]) * _halvings(op.detail))


@prices_functions("quantile", "nanquantile")
def _quantile(op: Op) -> OpCost | None:
    """Sorted, after a comparison with NaN each; then for each result a place (2), two weights (2) and a mean (3)."""
    if op.detail is None:
        return None
    return OpCost(numel(op.inputs[0]) * (_halvings(op.detail) + 1) + 7 * numel(op.outputs[0]))


@prices_functions("unique")
def _unique(op: Op) -> OpCost | None:
    """Sorted, and each compared with the one before; of a dimension, ``detail``, all that stands at one place of it."""
    if op.detail is None:
        return None
    n = _elements(op, 0) if op.detail == "all" else full_size(op.inputs[0][op.detail])
    return OpCost(numel(op.inputs[0]) * (_halvings(n) + 1))


@prices_functions("isin")
def _is_in(op: Op) -> OpCost | None:
    """Of n values and m to be found, as torch goes about it: each with each, or both sorted where m is large."""
    if len(op.inputs) < 2:
        return None
    n, m = _elements(op, 0), _elements(op, 1)
    if m < 10 * n**0.145:
        return OpCost(numel(op.inputs[0]) * m)
    return OpCost((numel(op.inputs[0]) + numel(op.inputs[1])) * (_halvings(n + m) + 1))


@prices_functions("searchsorted", "bucketize")
def _search(op: Op) -> OpCost:
    """Halving: log2 of the number of boundaries for each value."""
    boundaries = op.inputs[0] if op.kind == "searchsorted" else op.inputs[1]
    n = full_size(boundaries[-1]) if boundaries else 1
    return OpCost(numel(op.outputs[0]) * _halvings(n + 1))


@prices_functions("histogram")
def _histogram(op: Op) -> OpCost:
    """A value's bin by its place (3) or, where the edges are given, by halving, and a count."""
    edges = op.inputs[1] if len(op.inputs) > 1 and op.detail == "edges" else None
    search = 3 if edges is None else _halvings(full_size(edges[-1]) + 1)
    return OpCost(numel(op.inputs[0]) * (search + 1))


@prices_functions("cov", "corrcoef")
def _covariance(op: Op) -> OpCost:
    """Of n rows of m: means and differences, 2nm; n² sums of m products, and a division each.

    Correlations take n roots more, and two divisions for each entry.
    """
    x = op.inputs[0]
    m, n = size(x[-1]), size(x[0]) if len(x) > 1 else Polynomial.constant(1)
    cost = 2 * n * m + n * n * (2 * m + 1)
    return OpCost(cost + n + 2 * n * n if op.kind == "corrcoef" else cost)
