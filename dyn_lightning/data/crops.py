"""Pieces of a fixed length out of utterances of any length; short ones are repeated from their beginning."""

import numpy as np

from dyn_lightning.data.audio import Samples


def crop(samples: Samples, n_samples: int, start: int) -> Samples:
    """``n_samples`` from ``start`` on; an utterance that is too short is repeated, and ``start`` is then 0.

    Args:
        samples: (any,), at least one.
        n_samples: wanted length.
        start: 0 ≤ start ≤ max(0, len(samples) − n_samples).

    Returns:
        (n_samples,), a copy.
    """
    if len(samples) < n_samples:
        return np.resize(samples, n_samples)
    return samples[start : start + n_samples].copy()


def random_crop(samples: Samples, n_samples: int, rng: np.random.Generator) -> Samples:
    """:func:`crop` from a start drawn uniformly among all that fit."""
    return crop(samples, n_samples, int(rng.integers(max(0, len(samples) - n_samples) + 1)))


def centre_crop(samples: Samples, n_samples: int) -> Samples:
    """:func:`crop` out of the middle."""
    return crop(samples, n_samples, max(0, len(samples) - n_samples) // 2)
