import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dyn_lightning.widths import (
    attenuation,
    boundary_noise,
    paper_amplitudes,
    rotation,
)

ROWS = 40_000


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
