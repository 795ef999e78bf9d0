import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dyn_lightning.widths import (
    BOUNDARIES,
    paper_amplitudes,
    rotation,
)


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
