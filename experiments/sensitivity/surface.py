"""A quadratic response surface in log2 β and log2 λ_min."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CENTRE = (0.5, 0.25)
"""β and λ_min at which b = log2(β / 0.5) and l = log2(λ_min / 0.25) are 0."""
TERMS = ("1", "b", "l", "b²", "b·l", "l²")
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Surface:
    """A fitted surface.

    Attributes:
        coefficients: of :data:`TERMS`.
        r_squared: share of the values' variance that the surface explains.
        r_squared_largest: share that any function of β and λ_min can explain: the rest differs between runs that have
            both in common. NaN where no two have.
    """

    coefficients: Floats
    r_squared: float
    r_squared_largest: float

    def __call__(self, beta: ArrayLike, lam_min: ArrayLike) -> Floats:
        """The surface at arrays of β and λ_min of one shape."""
        found: Floats = _terms(beta, lam_min) @ self.coefficients
        return found


def fit_surface(beta: ArrayLike, lam_min: ArrayLike, values: ArrayLike) -> Surface:
    """Least squares over all runs.

    Args:
        beta: β of each run.
        lam_min: λ_min of each run.
        values: the response of each run.

    Raises:
        ValueError: if the runs do not determine the six coefficients: three values of β and of λ_min at least.
    """
    y = np.asarray(values, dtype=float)
    x = _terms(beta, lam_min)
    coefficients, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
    if rank < len(TERMS):
        raise ValueError(f"{len(y)} runs determine {rank} of {len(TERMS)} coefficients: run more pairs of β and λ_min")
    residual, total = float(((y - x @ coefficients) ** 2).sum()), float(((y - y.mean()) ** 2).sum())
    same = _same(beta, lam_min)
    within = sum(float(((y[rows] - y[rows].mean()) ** 2).sum()) for rows in same) if len(same) < len(y) else np.nan
    return Surface(coefficients, _explained(residual, total), _explained(within, total))


def _explained(left: float, total: float) -> float:
    return 1.0 - left / total if total else 1.0


def _terms(beta: ArrayLike, lam_min: ArrayLike) -> Floats:
    """(…, 6), the values of :data:`TERMS`."""
    b = np.log2(np.asarray(beta, dtype=float) / CENTRE[0])
    lam = np.log2(np.asarray(lam_min, dtype=float) / CENTRE[1])
    return np.stack([np.ones_like(b), b, lam, b**2, b * lam, lam**2], axis=-1)


def _same(beta: ArrayLike, lam_min: ArrayLike) -> list[NDArray[np.bool_]]:
    """For each pair of β and λ_min, which runs have it."""
    pairs = np.stack([np.asarray(beta, dtype=float), np.asarray(lam_min, dtype=float)], axis=-1)
    return [(pairs == pair).all(axis=-1) for pair in np.unique(pairs, axis=0)]
