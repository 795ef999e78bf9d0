"""Boundary noise: the last unit ξ of a dimension becomes η = a·ξ + b·σ_ξ·ν; as a copy, and in place."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from dyn_lightning.widths.amplitudes import Amplitude


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
