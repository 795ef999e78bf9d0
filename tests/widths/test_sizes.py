import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dyn_lightning.widths import (
    SIZE_TOLERANCE,
    active_size,
    interpolation,
    kept_size,
)


@pytest.mark.parametrize("k", [3.0, 3.0 - 1e-4, 3.0 + 1e-4])
def test_sizes_forgive_rounding(k: float) -> None:
    assert active_size(k) == kept_size(k) == 3


@given(st.floats(1.0, 4096.0))
def test_sizes_are_ceiling_and_floor(k: float) -> None:
    if abs(k - round(k)) > 2 * SIZE_TOLERANCE:
        assert (active_size(k), kept_size(k)) == (math.ceil(k), math.floor(k))


def test_one_element_always_stays() -> None:
    assert active_size(1e-6) == kept_size(1e-6) == 1


def test_every_integer_of_every_size_survives_float32_log_space() -> None:
    for full in range(1, 2049):
        size = np.arange(1, full + 1)
        theta = np.log(size / full).astype(np.float32)
        k = np.exp(theta.astype(np.float64)) * full
        assert (np.floor(k + SIZE_TOLERANCE) == size).all()
        assert (np.ceil(k - SIZE_TOLERANCE) == size).all()


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_interpolation_at_full_size_is_the_identity(n: int) -> None:
    assert torch.equal(interpolation(n, n), torch.eye(n))


@given(n=st.integers(1, 60), share=st.floats(0.01, 1.0))
def test_interpolation_is_an_average_of_two_neighbours_at_most(n: int, share: float) -> None:
    size = math.ceil(n * share)
    matrix = interpolation(n, size)
    assert matrix.shape == (n, size)
    assert (matrix >= 0).all()
    torch.testing.assert_close(matrix.sum(1), torch.ones(n))
    for row in matrix:
        (used,) = row.nonzero(as_tuple=True)
        assert used.max() - used.min() <= 1


@pytest.mark.parametrize("size", [3, 6, 11])
def test_interpolation_is_exact_for_straight_lines_between_the_outermost_samples(size: int) -> None:
    n = 12
    points = torch.arange(1, n + 1) / (n + 1)
    samples = torch.arange(1, size + 1) / (size + 1)
    expected = 3 * points.clamp(samples[0], samples[-1]) - 2
    torch.testing.assert_close(interpolation(n, size) @ (3 * samples - 2), expected)


@pytest.mark.parametrize("size", [2, 5, 12])
def test_interpolation_is_numpys(size: int) -> None:
    values = np.random.default_rng(0).normal(size=size)
    points, samples = np.arange(1, 13) / 13, np.arange(1, size + 1) / (size + 1)
    found = interpolation(12, size).numpy() @ values
    np.testing.assert_allclose(found, np.interp(points, samples, values), rtol=1e-5, atol=1e-6)
