"""The maths of a learned layer size. Pure functions; arXiv 2601.13704 unless said otherwise.

Letters: N full size, λ normalised width, K = λN real-valued size, α = ⌈K⌉ − K noise level, ξ feature,
ν noise.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

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


class Amplitude(NamedTuple):
    """An amplitude of the boundary unit, and its derivative by θ = log λ."""

    value: float
    slope: float

    def of(self, theta: Tensor) -> Tensor:
        """As a tensor, 0-d, with θ's gradient."""
        made: Tensor = _WithSlope.apply(theta, self.value, self.slope)
        return made


def amplitudes(boundary: str, k: float, units: int) -> tuple[Amplitude, Amplitude]:
    """Amplitudes of feature and noise at K units of ``units``, by a name in :data:`BOUNDARIES`."""
    alpha = min(max(min(active_size(k), units) - k, 0.0), 1.0)
    with torch.enable_grad():
        level = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
        found = BOUNDARIES[boundary](level)
        slopes = [torch.autograd.grad(x, level, retain_graph=True)[0] if x.requires_grad else 0.0 for x in found]
    a, b = (Amplitude(x.item(), -k * float(slope)) for x, slope in zip(found, slopes, strict=True))  # dα/dθ = −K
    return a, b


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
    clean, boundary = x.split([_clean_size(x, dim, unit), unit], dim=dim)
    nu = torch.randn_like(boundary) if noise is None else noise.reshape(boundary.shape)
    sigma = _deviation(boundary.detach(), {dim, *(d % x.dim() for d in apart)})
    a, b = feature_amplitude.to(x.dtype), noise_amplitude.to(x.dtype)
    return torch.cat([clean, a * boundary + b * sigma * nu], dim=dim)


def fade(
    weights: Sequence[Tensor], theta: Tensor, feature: Amplitude, *, dim: int = 0, unit: int = 1
) -> tuple[Tensor, ...]:
    """Multiply the last unit of a dimension of weights by a: the layer's feature then is a·ξ, without a copy of it.

    Args:
        weights: a layer's weights in use, each (…, size, …).
        theta: log λ, 0-d, which gets a's gradient.
        feature: a.
        dim: the dimension of the produced elements.
        unit: elements in the boundary unit.

    Returns:
        Tensors of the weights' shapes.

    Raises:
        ValueError: if the unit is larger than the dimension.
    """
    faded: tuple[Tensor, ...] = _Fade.apply(theta, feature, dim, _clean_size(weights[0], dim, unit), unit, *weights)
    return faded


def add_boundary_noise_(
    x: Tensor,
    theta: Tensor,
    feature: Amplitude,
    noise: Amplitude,
    *,
    dim: int,
    unit: int = 1,
    apart: Iterable[int] = (),
    shape: Sequence[int] | None = None,
) -> Tensor:
    """What :func:`boundary_noise` does, in place, to features whose last unit holds a·ξ already (:func:`fade`).

    Neither the features nor their gradient are copied.

    Args:
        x: the features in use; no view of another tensor.
        theta: log λ, 0-d, which gets b's gradient; a's is left to :func:`fade`.
        feature: a, not 0.
        noise: b.
        dim: the dimension that is being learned.
        unit: elements in the boundary unit.
        apart: dimensions of features, as there.
        shape: what x is seen as; ``dim`` and ``apart`` count its dimensions.

    Returns:
        x.

    Raises:
        ValueError: if the unit is larger than the dimension.
    """
    seen = tuple(x.shape if shape is None else shape)
    features = {d % len(seen) for d in (dim, *apart)}
    noisy: Tensor = _AddBoundaryNoise.apply(x, theta, feature, noise, seen, dim % len(seen), unit, features)
    return noisy


class _WithSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, theta: Tensor, value: float, slope: float) -> Tensor:
        ctx.slope = slope
        return torch.full_like(theta, value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        return gradient * ctx.slope, None, None


class _Fade(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, theta: Tensor, feature: Amplitude, dim: int, start: int, unit: int, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.place, ctx.feature, ctx.dtype = (dim, start, unit), feature, theta.dtype
        ctx.save_for_backward(*(w.narrow(*ctx.place) for w in weights))
        return _times(weights, feature.value, ctx.place)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        pairs = zip(gradients, ctx.saved_tensors, strict=True)
        total = sum((g.narrow(*ctx.place) * w).sum() for g, w in pairs)
        of_theta = (total * ctx.feature.slope).to(ctx.dtype)
        return of_theta, None, None, None, None, *_times(gradients, ctx.feature.value, ctx.place)


def _times(tensors: Sequence[Tensor], factor: float, place: tuple[int, int, int]) -> tuple[Tensor, ...]:
    """Tensors with a slice of them multiplied; themselves where that changes nothing."""
    if factor == 1.0:
        return tuple(tensors)
    copies = tuple(x.clone() for x in tensors)
    for x in copies:
        x.narrow(*place).mul_(factor)
    return copies


class _AddBoundaryNoise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        theta: Tensor,
        feature: Amplitude,
        noise: Amplitude,
        shape: tuple[int, ...],
        dim: int,
        unit: int,
        features: set[int],
    ) -> Tensor:
        seen = x.view(shape)
        ctx.shape, ctx.place = shape, (dim, _clean_size(seen, dim, unit), unit)
        ctx.slope, ctx.dtype = noise.slope, theta.dtype
        boundary = seen.narrow(*ctx.place)
        sigma = _deviation(boundary, features) / feature.value
        direction = torch.randn_like(boundary).mul_(sigma)
        if noise.value:
            boundary.add_(direction, alpha=noise.value)
        ctx.save_for_backward(direction)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        (direction,) = ctx.saved_tensors
        total = (gradient.view(ctx.shape).narrow(*ctx.place) * direction).sum()
        return gradient, (total * ctx.slope).to(ctx.dtype), None, None, None, None, None, None


def _clean_size(x: Tensor, dim: int, unit: int) -> int:
    """Elements before the boundary unit. Raises ValueError where it does not fit."""
    if unit > x.shape[dim]:
        raise ValueError(f"a unit of {unit} elements does not fit a dimension of {x.shape[dim]}")
    return x.shape[dim] - unit


def _deviation(x: Tensor, features: set[int]) -> Tensor:
    """Standard deviation of each element over all dimensions that are not features, in float32 at least."""
    samples = [d for d in range(x.dim()) if d not in features]
    wide = x if x.dtype == torch.float64 else x.float()
    return wide.std(samples, correction=0, keepdim=True).to(x.dtype) if samples else torch.zeros_like(x)


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
