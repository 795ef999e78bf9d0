"""Cost of Fourier transforms, and of functions that resample, filter, fold and scatter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dyn_lightning.costs.base import OpCost, full_size, numel, prices_functions, size
from dyn_lightning.costs.front_end import fft_flops
from dyn_lightning.graph.polynomial import Polynomial

if TYPE_CHECKING:
    from dyn_lightning.graph import Op
    from dyn_lightning.graph.notes import Axes

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
    if mode in ("bilinear, antialias", "bicubic, antialias"):
        return _antialiased(op, reach=1 if mode.startswith("bilinear") else 2)
    return OpCost(numel(op.outputs[0]) * (2 * _TAPS[mode] - 1)) if mode in _TAPS else None


def _antialiased(op: Op, reach: int) -> OpCost:
    """First along the rows, then along the columns: sums of as many products as lie under the filter.

    It reaches as many outputs to either side, which are n_in/n_out inputs each where there are fewer outputs.
    """
    (*_, height, width), (*others, high, wide) = op.inputs[0], op.outputs[0]
    rows = [*others, height, wide], full_size(width), full_size(wide)
    columns = [*others, high, wide], full_size(height), full_size(high)
    passes = [numel(y) / n_out * (2 * _taps(n_in, n_out, reach) - n_out) for y, n_in, n_out in (rows, columns)]
    return OpCost(Polynomial.sum(passes))


def _taps(n_in: int, n_out: int, reach: int) -> int:
    """Inputs under the filter, summed over all outputs of a row; those that lie outside of it are none."""
    scale = n_in / n_out
    support = reach * max(scale, 1.0)
    centres = [scale * (i + 0.5) for i in range(n_out)]
    return sum(min(int(c + support + 0.5), n_in) - max(int(c - support + 0.5), 0) for c in centres)


@prices_functions("gridsample")
def _grid_sample(op: Op) -> OpCost | None:
    """A sum of products of each output's neighbours, their weights (a product each) and places once for each place.

    A place's coordinate is scaled and shifted (4) and rounded (1), and has two distances from its neighbours (2).
    ``bicubic``: one distance, and four weights in each dimension, two polynomials of 5 and two of 6 FLOPs with 3
    further distances; each output is a sum of four products of four sums of four products.
    """
    grid = op.inputs[1]
    spatial = len(grid) - 2
    places = numel(grid[:-1])
    if op.detail == "nearest":
        return OpCost(places * 5 * spatial)
    if op.detail == "bicubic":
        return OpCost(numel(op.outputs[0]) * 5 * 7 + places * spatial * (6 + 2 * 5 + 2 * 6 + 3))
    if op.detail != "bilinear":
        return None
    neighbours = 2**spatial
    return OpCost(numel(op.outputs[0]) * (2 * neighbours - 1) + places * (7 * spatial + neighbours * (spatial - 1)))


@prices_functions("lfiltercoreloop")
def _recursive_filter(op: Op) -> OpCost:
    """A product and a subtraction for each coefficient of the denominator but the first, which is 1."""
    return OpCost(2 * numel(op.inputs[0]) * (size(op.inputs[1][-1]) - 1))


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


@prices_functions("localresponsenorm")
def _local_response_norm(op: Op) -> OpCost | None:
    """A square, the mean of ``size`` of them, a product, a sum, a power and a division."""
    return None if op.detail is None else OpCost(numel(op.outputs[0]) * (op.detail + 5))


@prices_functions("embeddingbag")
def _embedding_bag(op: Op) -> OpCost | None:
    """Its detail: the mode, and whether there are weights."""
    return None if op.detail is None else OpCost(embedding_bag_flops(op.inputs[0], op.outputs[0], *op.detail))


def embedding_bag_flops(indices: Axes, out: Axes, mode: str, weighted: bool) -> Polynomial:
    """Every entry that is looked up is added to its bag (or compared), once it is multiplied by a weight of its own if
    there are ``weighted`` ones; the mean is divided.
    """
    return numel(indices) * size(out[-1]) * (1 + weighted) + numel(out) * (mode == "mean")
