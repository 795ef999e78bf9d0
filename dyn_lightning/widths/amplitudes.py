"""How the boundary unit fades out: amplitudes of its feature ξ and of its noise ν over α = ⌈K⌉ − K."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from dyn_lightning.widths.sizes import active_size

ALPHA_MARGIN = 0.05
"""Distance that the paper's noise level keeps from 0 and 1, where its gradient diverges."""


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
"""How a boundary unit fades out as α goes from 0 to 1: amplitudes of feature and noise, by name."""


class Amplitude(NamedTuple):
    """An amplitude of the boundary unit, and its derivative by θ = log λ."""

    value: float
    slope: float

    def of(self, theta: Tensor) -> Tensor:
        """As a tensor, 0-d, with θ's gradient."""
        made: Tensor = _WithSlope.apply(theta, self.value, self.slope)
        return made


def _same(x: Tensor) -> Tensor:
    return x


def amplitudes(boundary: str, k: float, units: int) -> tuple[Amplitude, Amplitude]:
    """Amplitudes of feature and noise at K units of ``units``, by a name in :data:`BOUNDARIES`."""
    alpha = min(max(min(active_size(k), units) - k, 0.0), 1.0)
    # Its own hooks: those of activation checkpointing would count what is saved here, and miss it where it is cached.
    with torch.enable_grad(), saved_tensors_hooks(_same, _same):
        level = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
        found = BOUNDARIES[boundary](level)
        slopes = [torch.autograd.grad(x, level, retain_graph=True)[0] if x.requires_grad else 0.0 for x in found]
    a, b = (Amplitude(x.item(), -k * float(slope)) for x, slope in zip(found, slopes, strict=True))  # dα/dθ = −K
    return a, b


class _WithSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, theta: Tensor, value: float, slope: float) -> Tensor:
        ctx.slope = slope
        return torch.full_like(theta, value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        return gradient * ctx.slope, None, None
