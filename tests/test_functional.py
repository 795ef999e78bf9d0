import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dyn_lightning.functional import (
    BOUNDARIES,
    SIZE_TOLERANCE,
    active_size,
    attenuation,
    boundary_noise,
    interpolation,
    kept_size,
    paper_amplitudes,
    rotation,
)

ROWS = 40_000


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


@pytest.mark.parametrize("amplitudes", [rotation, paper_amplitudes])
@given(alpha=st.floats(0.0, 1.0))
def test_amplitudes_keep_the_variance(amplitudes, alpha: float) -> None:
    a, b = amplitudes(torch.tensor(alpha))
    assert float(a**2 + b**2) == pytest.approx(1.0, abs=1e-6)


@given(alpha=st.floats(0.05, 0.95))
def test_amplitudes_of_the_paper(alpha: float) -> None:
    a, b = paper_amplitudes(torch.tensor(alpha, dtype=torch.float64))
    assert (float(a), float(b)) == pytest.approx((math.sqrt(1 - alpha), math.sqrt(alpha)))


def test_the_papers_amplitudes_are_bounded_but_their_gradient_is_not_cut() -> None:
    for value in (0.0, 1.0):
        alpha = torch.tensor(value, requires_grad=True)
        a, b = paper_amplitudes(alpha)
        assert torch.stack([a, b]).min().item() == pytest.approx(math.sqrt(0.05))
        (slope,) = torch.autograd.grad(b, alpha)
        assert slope.item() == pytest.approx(0.5 / b.item(), rel=1e-5)


@pytest.mark.parametrize("name", BOUNDARIES)
def test_amplitudes_at_the_ends_pass_from_the_feature_to_nothing_of_it(name: str) -> None:
    margin = math.sqrt(0.05) if name == "paper" else 0.0
    assert float(BOUNDARIES[name](torch.tensor(0.0))[0]) == pytest.approx(math.sqrt(1 - margin**2))
    assert float(BOUNDARIES[name](torch.tensor(1.0))[0]) == pytest.approx(margin, abs=1e-6)


@pytest.mark.parametrize("name", BOUNDARIES)
def test_no_gradient_is_infinite_anywhere_in_a_segment(name: str) -> None:
    alpha = torch.cat([torch.linspace(0, 1, 100_000), torch.tensor([1e-12, 1 - 1e-7])]).requires_grad_()
    a, b = BOUNDARIES[name](alpha)
    (slope,) = torch.autograd.grad((a + b).sum(), alpha)
    assert torch.isfinite(a).all()
    assert torch.isfinite(b).all()
    assert slope.abs().max() < 3.0


@settings(max_examples=15, deadline=None)
@given(st.floats(0.05, 0.95), st.floats(0.1, 10.0), st.integers(0, 2**31))
def test_boundary_keeps_variance_and_hides_alpha_of_the_feature(alpha: float, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = scale * torch.randn(ROWS, 3, generator=generator)
    y = boundary_noise(x, *paper_amplitudes(torch.tensor(alpha)), dim=1)
    assert torch.equal(y[:, :2], x[:, :2])
    xi, eta = x[:, 2].double().numpy(), y[:, 2].double().numpy()
    # standard errors: √(2/n) of a variance, at most 2/√n of a squared correlation; five of them are allowed
    assert eta.var() == pytest.approx(xi.var(), rel=5 * math.sqrt(8 / ROWS))
    error_of_best_linear_estimate = 1 - np.corrcoef(xi, eta)[0, 1] ** 2
    assert error_of_best_linear_estimate == pytest.approx(alpha, abs=10 / math.sqrt(ROWS))


@settings(max_examples=10, deadline=None)
@given(st.floats(0.0, 1.0), st.integers(0, 2**31))
def test_rotation_hides_sine_squared_of_the_feature(alpha: float, seed: int) -> None:
    x = torch.randn(ROWS, 1, generator=torch.Generator().manual_seed(seed))
    y = boundary_noise(x, *rotation(torch.tensor(alpha)), dim=1)
    squared_correlation = np.corrcoef(x[:, 0].numpy(), y[:, 0].numpy())[0, 1] ** 2
    assert 1 - squared_correlation == pytest.approx(math.sin(math.pi / 2 * alpha) ** 2, abs=10 / ROWS**0.5)


def test_given_noise_is_the_formula() -> None:
    x, nu = torch.randn(5, 4, 7), torch.randn(5, 2, 7)
    y = boundary_noise(x, torch.tensor(0.6), torch.tensor(0.8), dim=1, unit=2, noise=nu)
    sigma = x[:, 2:].transpose(0, 1).flatten(1).std(1, correction=0)[None, :, None]
    torch.testing.assert_close(y[:, :2], x[:, :2])
    torch.testing.assert_close(y[:, 2:], 0.6 * x[:, 2:] + 0.8 * sigma * nu)


def test_elements_apart_have_a_deviation_each() -> None:
    """Blocks of very different level and spread must not lend each other their statistics."""
    x = torch.randn(20_000, 2, 3) * torch.tensor([1.0, 100.0])[:, None] + torch.tensor([0.0, 1e3])[:, None]
    amplitudes = torch.tensor(0.0), torch.tensor(1.0)
    y = boundary_noise(x, *amplitudes, dim=-1, unit=2, apart=(-2,))
    assert torch.equal(y[..., :1], x[..., :1])
    torch.testing.assert_close(y[..., 1:].std(0), torch.tensor([[1.0] * 2, [100.0] * 2]), rtol=0.05, atol=0)
    shared = boundary_noise(x, *amplitudes, dim=-1)[..., 2]
    torch.testing.assert_close(shared.std(0), x[..., 2].std().repeat(2), rtol=0.05, atol=0)


def test_deviation_is_detached() -> None:
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    y = boundary_noise(x, torch.tensor(0.0), torch.tensor(1.0), dim=-1)
    (gradient,) = torch.autograd.grad(y[:, 2].sum(), x)
    assert gradient.abs().max() == 0.0


def test_dtypes_are_kept_and_one_dimension_has_no_spread() -> None:
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        assert boundary_noise(torch.randn(4, 3, dtype=dtype), *rotation(torch.tensor(0.5)), dim=1).dtype == dtype
    x = torch.randn(3)
    expected = torch.tensor([*x[:2], x[2] * 0.5])
    torch.testing.assert_close(boundary_noise(x, torch.tensor(0.5), torch.tensor(0.5), dim=0), expected)


@pytest.mark.parametrize(("size", "unit"), [(4, 6), (1, 2)])
def test_a_unit_that_does_not_fit_is_refused(size: int, unit: int) -> None:
    amplitudes = attenuation(torch.tensor(0.5))
    with pytest.raises(ValueError, match="does not fit"):
        boundary_noise(torch.randn(2, size), *amplitudes, dim=1, unit=unit)


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
