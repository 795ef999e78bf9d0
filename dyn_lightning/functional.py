"""The maths of a learned layer size. Pure functions; arXiv 2601.13704 unless said otherwise.

Letters: N full size, λ normalised width, K = λN real-valued size, α = ⌈K⌉ − K noise level, ξ feature, ν noise.
"""

import math

import torch
from torch import Tensor

SIZE_TOLERANCE = 1e-3
"""Float rounding forgiven when K is turned into an integer: far below a unit, far above λ's rounding at N = 2048."""

ALPHA_MARGIN = 0.05
"""Distance that the noise level keeps from 0 and 1, where the gradient's variance and mean diverge."""


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


def noise_level(k: Tensor, active: int, margin: float = ALPHA_MARGIN) -> Tensor:
    """Noise level α = ⌈K⌉ − K of the boundary unit, kept inside [margin, 1 − margin].

    The bound acts on the value alone; the gradient passes straight through (∂α/∂K = −1 everywhere). Without it one
    step next to an integer gives a gradient so large that an adaptive optimiser ignores λ's ordinary gradient for
    thousands of steps after.

    Args:
        k: real-valued size K in units, 0-d, with a gradient.
        active: ⌈K⌉ in units.
        margin: least distance of α from 0 and from 1; 0 for the paper's plain α.
    """
    alpha = active - k
    return alpha + (alpha.clamp(margin, 1.0 - margin) - alpha).detach()


def boundary_noise(
    x: Tensor, alpha: Tensor, *, dim: int, unit: int = 1, groups: int = 1, noise: Tensor | None = None
) -> Tensor:
    """Replace the last unit ξ of a dimension by η = √(1−α)·ξ + √α·σ_ξ·ν.

    η keeps the variance of ξ, and the best linear estimate of ξ from η has the normalised squared error α. σ_ξ is the
    standard deviation of each boundary element over all other dimensions, detached; ν is drawn afresh.

    Args:
        x: (…, size, …), the elements in use.
        alpha: noise level in [0, 1], 0-d.
        dim: the dimension that is being learned.
        unit: elements in the boundary unit.
        groups: the dimension is this many equal blocks, and the unit is spread evenly over their ends.
        noise: standard normal ν of the boundary's shape; drawn when absent.

    Returns:
        Tensor of x's shape.

    Raises:
        ValueError: if the dimension is not made of ``groups`` blocks that each hold ``unit / groups`` elements.
    """
    dim = dim % x.dim()
    size = x.shape[dim]
    if unit % groups or size % groups or unit > size:
        raise ValueError(f"a unit of {unit} elements in {groups} groups does not fit a dimension of {size}")
    if groups > 1:
        blocks = x.unflatten(dim, (groups, size // groups))
        return boundary_noise(blocks, alpha, dim=dim + 1, unit=unit // groups, noise=noise).flatten(dim, dim + 1)
    clean, boundary = x.split([size - unit, unit], dim=dim)
    if noise is None:
        noise = torch.randn_like(boundary)
    others = [d for d in range(x.dim()) if d != dim]
    sigma = boundary.detach().float().std(others, correction=0, keepdim=True).to(x.dtype) if others else 0.0
    alpha = alpha.to(x.dtype)
    eta = (1 - alpha).sqrt() * boundary + alpha.sqrt() * sigma * noise
    return torch.cat([clean, eta], dim=dim)
