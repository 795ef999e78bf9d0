"""Cost of audio front ends in the convention ``full``; the paper's convention does not price them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dyn_lightning.costs.base import OpCost, full_size, numel, prices_functions

if TYPE_CHECKING:
    from dyn_lightning.graph import Op


def fft_flops(n: int) -> int:
    """FLOPs of an FFT of n points, 5·n·log2(n), that of a complex one: an upper bound for real audio."""
    return round(5 * n * math.log2(n))


@prices_functions("stft")
def _stft(op: Op) -> OpCost:
    """Window and FFT of each frame of an STFT (…, bins, frames): one-sided and complex, where nothing else is said."""
    y = op.outputs[0]
    n_fft = 2 * (full_size(y[-2]) - 1) if op.detail is None else op.detail
    as_pairs = full_size(y[-2]) not in (n_fft, n_fft // 2 + 1)  # real and imaginary parts in a dimension of their own
    y = y[:-1] if as_pairs else y
    (bins,) = y[-2]
    if not isinstance(bins, int):
        raise ValueError(f"{op.name}: the bins of an STFT cannot be a learned size")
    return OpCost(numel(y) / bins * (n_fft + fft_flops(n_fft)))
