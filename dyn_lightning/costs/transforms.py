"""Cost of Fourier transforms, and of functions that resample, fold, sort and scatter."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dyn_lightning.costs.base import OpCost, numel, prices_functions, size
from dyn_lightning.costs.front_end import fft_flops

if TYPE_CHECKING:
    from dyn_lightning.graph import Op

_KINDS = [
    f"fft{inverse}{kind}{dims}"
    for inverse in ("", "i")
    for kind in ("", "r", "h")
    for dims in ("fft", "fft2", "fftn")
]  # fmt: skip


@prices_functions(*_KINDS)
def _fft(op: Op) -> OpCost | None:
    """For each transform of N points in all its dimensions 5·N·log2(N), also where they are real: an upper bound."""
    if op.detail is None:
        return None
    points, dims = op.detail
    others = [axis for d, axis in enumerate(op.outputs[0]) if d not in dims]
    return OpCost(numel(others) * fft_flops(points))


@prices_functions("istft")
def _istft(op: Op) -> OpCost | None:
    """(…, bins, frames): for each frame an inverse FFT, a window and the sum of overlapping frames (1 a sample each).

    Each sample of the result is divided by the sum of the squared windows there.
    """
    if op.detail is None:
        return None
    n_fft = op.detail
    frames = numel((*op.inputs[0][:-2], op.inputs[0][-1]))
    return OpCost(frames * (fft_flops(n_fft) + 2 * n_fft) + numel(op.outputs[0]))


# Products and sums of each output's neighbours; the weights are the same for all that is not spatial.
_TAPS = {"linear": 2, "bilinear": 4, "trilinear": 8, "bicubic": 16}


@prices_functions("interpolate", "upsample", "upsamplebilinear", "upsamplenearest")
def _interpolate(op: Op) -> OpCost | None:
    """``nearest`` copies; ``area`` sums all inputs; others are sums of 2, 4, 8 or 16 products for each output."""
    mode = op.detail
    if op.kind.startswith("upsample_"):
        mode = op.kind.removeprefix("upsample_")
    if mode in ("nearest", "nearest-exact"):
        return OpCost()
    if mode == "area":
        return OpCost(numel(op.inputs[0]))
    return OpCost(numel(op.outputs[0]) * (2 * _TAPS[mode] - 1)) if mode in _TAPS else None


@prices_functions("gridsample")
def _grid_sample(op: Op) -> OpCost | None:
    """A sum of products of each output's neighbours, their weights (a product each) and places once for each place.

    A place's coordinate is scaled and shifted (4) and rounded (1), and has two distances from its neighbours (2).
    """
    grid = op.inputs[1]
    spatial = len(grid) - 2
    places = numel(grid[:-1])
    if op.detail == "nearest":
        return OpCost(places * 5 * spatial)
    if op.detail != "bilinear":
        return None
    neighbours = 2**spatial
    return OpCost(numel(op.outputs[0]) * (2 * neighbours - 1) + places * (7 * spatial + neighbours * (spatial - 1)))


@prices_functions("affinegrid")
def _affine_grid(op: Op) -> OpCost:
    """Each coordinate of each place: a row of a matrix (n, n + 1) times the place, whose last entry is 1."""
    return OpCost(numel(op.outputs[0]) * 2 * size(op.outputs[0][-1]))


@prices_functions("fold", "col2im")
def _fold(op: Op) -> OpCost:
    """Every input is added to where it belongs."""
    return OpCost(numel(op.inputs[0]))


@prices_functions("scatteradd", "indexadd", "scatterreduce", "indexreduce")
def _scatter_add(op: Op) -> OpCost:
    """Inputs: what is added to, the index, and the source, each element of which is added to something."""
    return OpCost(op.product_and_sum[1] * numel(op.inputs[-1]))


@prices_functions("sort", "argsort", "msort")
def _sort(op: Op) -> OpCost | None:
    """n·log2(n) comparisons for each row of n."""
    if op.detail is None:
        return None
    return OpCost(numel(op.inputs[0]) * math.ceil(math.log2(max(1, op.detail))))


@prices_functions("localresponsenorm")
def _local_response_norm(op: Op) -> OpCost | None:
    """A square, the mean of ``size`` of them, a product, a sum, a power and a division."""
    return None if op.detail is None else OpCost(numel(op.outputs[0]) * (op.detail + 5))


@prices_functions("embeddingbag")
def _embedding_bag(op: Op) -> OpCost:
    """Every entry that is looked up is added to its bag."""
    indices, table = op.inputs[:2]
    return OpCost(numel(indices) * size(table[-1]))


@prices_functions("searchsorted", "bucketize")
def _search(op: Op) -> OpCost:
    """Halving: log2 of the number of boundaries for each value."""
    boundaries = op.inputs[0] if op.kind == "searchsorted" else op.inputs[1]
    n = math.prod(f if isinstance(f, int) else f.full_size for f in boundaries[-1]) if boundaries else 1
    return OpCost(numel(op.outputs[0]) * math.ceil(math.log2(n + 1)))
