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


def interpolation(full_size: int, size: int) -> Tensor:
    """Linear interpolation of ``full_size`` points from ``size`` samples of the same range: (full_size, size).

    Point j of N lies at (j + 1) / (N + 1) of the range, and sample i at (i + 1) / (size + 1), as the centres of mel
    bands do; beyond the outermost samples their values hold. At size = N the identity.
    """
    points = torch.arange(1, full_size + 1, dtype=torch.float64) * ((size + 1) / (full_size + 1)) - 1
    points = points.clamp(0, size - 1)[:, None]
    samples = torch.arange(size, dtype=torch.float64)
    return (1 - (points - samples).abs()).clamp_min(0.0).float()
