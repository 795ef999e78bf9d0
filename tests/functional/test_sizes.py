import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dyn_lightning.functional import (
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
    torch.testing.assert_close(interpolation(n, n, torch.tensor(float(n))), torch.eye(n), rtol=0, atol=1e-5)


@given(n=st.integers(1, 60), share=st.floats(0.01, 1.0))
def test_interpolation_is_an_average_of_two_neighbours_at_most(n: int, share: float) -> None:
    k = max(1.0, n * share)
    matrix = interpolation(n, math.ceil(k), torch.tensor(k, dtype=torch.float64))
    assert matrix.shape == (n, math.ceil(k))
    assert (matrix >= 0).all()
    torch.testing.assert_close(matrix.sum(1), torch.ones(n, dtype=torch.float64))
    for row in matrix:
        (used,) = row.nonzero(as_tuple=True)
        assert used.max() - used.min() <= 1


@pytest.mark.parametrize("k", [3.0, 5.4, 11.9])
def test_interpolation_is_exact_for_straight_lines_between_the_outermost_samples(k: float) -> None:
    n, size = 12, math.ceil(k)
    points = torch.arange(1, n + 1, dtype=torch.float64) / (n + 1)
    samples = torch.arange(1, size + 1, dtype=torch.float64) / (k + 1)
    found = interpolation(n, size, torch.tensor(k, dtype=torch.float64)) @ (3 * samples - 2)
    expected = 3 * points.clamp(samples[0], samples[-1]) - 2
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("k", "ahead"), [(2.3, 1), (6.7, 1), (9.7, 1), (11.0, 0), (6.5, 0)])
def test_interpolation_has_the_gradient_of_the_size(k: float, ahead: int) -> None:
    """Also at 11, where every point meets a sample, and at 6.5, where two do: there towards smaller K."""
    values = torch.randn(math.ceil(k), 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def value(k: torch.Tensor) -> torch.Tensor:
        return (interpolation(11, len(values), k) @ values).square().sum()

    at = torch.tensor(k, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(value(at), at)
    step = 1e-7
    with torch.no_grad():
        difference = (value(at + ahead * step) - value(at - step)) / ((1 + ahead) * step)
    assert slope.item() == pytest.approx(difference.item(), rel=1e-4)
