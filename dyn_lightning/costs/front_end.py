"""Cost of audio front ends in the convention ``full``; the paper's convention does not price them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dyn_lightning.costs.base import OpCost, full_size, numel, prices_functions, prices_modules, size

if TYPE_CHECKING:
    from dyn_lightning.graph import Op


def fft_flops(n: int) -> int:
    """FLOPs of an FFT of n points, 5·n·log2(n), that of a complex one: an upper bound for real audio."""
    return round(5 * n * math.log2(n))


@prices_modules("Spectrogram")
def _spectrogram(op: Op) -> OpCost:
    """For each frame a window (1 a sample), an FFT, and 3 a bin (power 1: 4; neither 1 nor 2: 5)."""
    module: Any = op.module
    bins = module.n_fft // 2 + 1
    per_bin = 3 + (module.power != 2) + (module.power not in (1, 2))
    return OpCost(numel(op.outputs[0]) / bins * (module.n_fft + fft_flops(module.n_fft) + per_bin * bins))


@prices_modules("MelFilterBank")
def _mel_filter_bank(op: Op) -> OpCost:
    """Power (…, bins, frames) → (…, bands, frames), as the dense product that it is run as."""
    return OpCost(2 * numel(op.outputs[0]) * size(op.inputs[0][-2]))


@prices_modules("FixedScaling")
def fixed_scaling(op: Op) -> OpCost:
    """A subtraction and a division per element."""
    return OpCost(flops_full=2 * numel(op.outputs[0]))


@prices_modules("LogCompression")
def _log_compression(op: Op) -> OpCost:
    return OpCost(2 * numel(op.outputs[0]))


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
