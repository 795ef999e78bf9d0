"""The maths of a learned layer size. Pure functions; arXiv 2601.13704 unless said otherwise.

Letters: N full size, λ normalised width, K = λN real-valued size, α = ⌈K⌉ − K noise level, ξ feature,
ν noise.
"""

from dyn_lightning.widths.amplitudes import (
    ALPHA_MARGIN,
    BOUNDARIES,
    Amplitude,
    amplitudes,
    attenuation,
    paper_amplitudes,
    rotation,
    taper,
)
from dyn_lightning.widths.noise import add_boundary_noise_, boundary_noise, fade
from dyn_lightning.widths.sizes import SIZE_TOLERANCE, active_size, interpolation, kept_size

__all__ = [
    "ALPHA_MARGIN", "BOUNDARIES", "SIZE_TOLERANCE", "Amplitude", "active_size", "add_boundary_noise_", "amplitudes",
    "attenuation", "boundary_noise", "fade", "interpolation", "kept_size", "paper_amplitudes", "rotation", "taper",
]  # fmt: skip
