"""The maths of a learned layer size. Pure functions; arXiv 2601.13704 unless said otherwise.

Letters: N full size, λ normalised width, K = λN real-valued size, α = ⌈K⌉ − K noise level, ξ feature,
ν noise.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

SIZE_TOLERANCE = 1e-3
"""Rounding forgiven when K is turned into an integer: far below a unit, far above λ's own at N = 2048."""

ALPHA_MARGIN = 0.05
"""Distance that the paper's noise level keeps from 0 and 1, where its gradient diverges."""


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


def taper(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Amplitudes (1 − α, α(1 − α)) of feature and noise: the unit fades, and is noisy while it does.

    Unlike the paper's it does not keep the variance. Both amplitudes are 0 where the unit leaves, so that
    nothing jumps there, and their slopes are finite at both ends. Of all forms tried on the synthetic study
    it alone finds the right size whichever layer stands behind (``experiments/filter_bank``): weights behind a
    fading unit can hand over to others bit by bit, weights behind a unit of pure noise must first unlearn it.

    Args:
        alpha: distance of K from the active size, ⌈K⌉ − K, in [0, 1].
    """
    return 1 - alpha, alpha * (1 - alpha)


def rotation(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Amplitudes (cos φ, sin φ) of feature and noise, the angle φ = (π/2)·α: the paper's, with finite slopes.

    Keeps the variance, and the best linear estimate's normalised squared error is sin²φ: 0, ½ and 1 where α
    is.

    Args:
        alpha: distance of K from the active size, ⌈K⌉ − K, in [0, 1].
    """
    angle = alpha * (math.pi / 2)
    return angle.cos(), angle.sin()


def paper_amplitudes(alpha: Tensor, margin: float = ALPHA_MARGIN) -> tuple[Tensor, Tensor]:
    """Amplitudes (√(1−α), √α) of arXiv 2601.13704, α kept inside [margin, 1 − margin].

    The bound acts on the value alone; the gradient passes straight through (∂α/∂K = −1 everywhere).

    Args:
        alpha: distance of K from the active size, ⌈K⌉ − K, in [0, 1].
        margin: 0 for the paper's plain α.
    """
    bounded = alpha + (alpha.clamp(margin, 1.0 - margin) - alpha).detach()
    return (1 - bounded).sqrt(), bounded.sqrt()


def attenuation(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Amplitudes (1 − α, 0): the boundary unit fades without noise. For comparison.

    Args:
        alpha: distance of K from the active size, ⌈K⌉ − K, in [0, 1].
    """
    return 1 - alpha, torch.zeros_like(alpha)


BOUNDARIES: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "taper": taper,
    "rotation": rotation,
    "paper": paper_amplitudes,
    "attenuation": attenuation,
}
"""How a boundary unit passes away as α goes from 0 to 1: amplitudes of feature and noise, by name."""


def boundary_noise(
    x: Tensor,
    feature_amplitude: Tensor,
    noise_amplitude: Tensor,
    *,
    dim: int,
    unit: int = 1,
    apart: Iterable[int] = (),
    noise: Tensor | None = None,
) -> Tensor:
    """Replace the last unit ξ of a dimension by η = a·ξ + b·σ_ξ·ν; in the paper a = √(1−α), b = √α.

    With a² + b² = 1, η keeps the variance of ξ, and the best linear estimate of ξ from η has the normalised
    squared error b². σ_ξ is the standard deviation of each boundary element over all other dimensions,
    detached; ν is drawn afresh.

    Args:
        x: (…, size, …), the elements in use.
        feature_amplitude: a, 0-d.
        noise_amplitude: b, 0-d.
        dim: the dimension that is being learned.
        unit: elements in the boundary unit.
        apart: dimensions along which elements are different features too, not samples of one: the head that a
            learned element of every head belongs to.
        noise: standard normal ν of the boundary unit's shape, (…, unit, …); drawn when absent.

    Returns:
        Tensor of x's shape.

    Raises:
        ValueError: if the unit is larger than the dimension.
    """
    dim = dim % x.dim()
    size = x.shape[dim]
    if unit > size:
        raise ValueError(f"a unit of {unit} elements does not fit a dimension of {size}")
    clean, boundary = x.split([size - unit, unit], dim=dim)
    nu = torch.randn_like(boundary) if noise is None else noise.reshape(boundary.shape)
    features = {dim, *(d % x.dim() for d in apart)}
    samples = [d for d in range(x.dim()) if d not in features]
    xi = boundary.detach()
    xi = xi if xi.dtype == torch.float64 else xi.float()
    sigma = xi.std(samples, correction=0, keepdim=True).to(x.dtype) if samples else torch.zeros_like(boundary)
    a, b = feature_amplitude.to(x.dtype), noise_amplitude.to(x.dtype)
    return torch.cat([clean, a * boundary + b * sigma * nu], dim=dim)


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
