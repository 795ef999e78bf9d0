"""Real-valued sizes as integers, and weights for fewer samples of the same range."""

import math

import torch
from torch import Tensor

SIZE_TOLERANCE = 1e-3
"""Rounding forgiven when K is turned into an integer: far below a unit, far above λ's own at N = 2048."""


def active_size(k: float) -> int:
    """Number of elements computed while searching, ⌈K⌉, at least one.

    Args:
        k: real-valued size K in units.
    """
    return max(1, math.ceil(k - SIZE_TOLERANCE))


def kept_size(k: float) -> int:
    """Number of elements that consolidation keeps, ⌊K⌋, at least one.

    Args:
        k: real-valued size K in units.
    """
    return max(1, math.floor(k + SIZE_TOLERANCE))


def interpolation(full_size: int, size: int, k: Tensor) -> Tensor:
    """Linear interpolation of ``full_size`` points from ``size`` samples of the same range: (full_size, size).

    Point j of N lies at (j + 1) / (N + 1) of the range, and sample i at (i + 1) / (K + 1), as the centres of mel bands
    do; beyond the outermost samples their values hold. At K = N the identity.

    Args:
        full_size: N.
        size: ⌈K⌉.
        k: real-valued K, 0-d; the result has its gradient. Where a point meets a sample, as all do at K = N, it is
            that towards smaller K.
    """
    points = torch.arange(1, full_size + 1, device=k.device, dtype=k.dtype) * ((k + 1) / (full_size + 1)) - 1
    points = points.relu().clamp_max(size - 1)[:, None]
    samples = torch.arange(size, device=k.device, dtype=k.dtype)
    below = (points.detach().ceil() - 1).clamp_min(0)
    share = points - below
    return (samples == below) * (1 - share) + (samples == below + 1) * share
