"""Losses against independent closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from dyn_lightning.tasks.losses import am_softmax_loss, oc_softmax_loss, soft_cross_entropy


def drawn(seed: int, classes: int, count: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    cosines = 2 * torch.rand(count, classes, generator=generator, dtype=torch.float64) - 1
    return cosines, torch.randint(0, classes, (count,), generator=generator)


@given(st.integers(0, 1000), st.sampled_from([2, 4]), st.floats(1, 30), st.floats(0, 0.9))
def test_am_softmax_equals_the_papers_fraction(seed: int, classes: int, scale: float, margin: float) -> None:
    cosines, target = drawn(seed, classes)
    losses = []
    for row, true in zip(cosines.tolist(), target.tolist(), strict=True):
        numerator = math.exp(scale * (row[true] - margin))
        others = sum(math.exp(scale * c) for k, c in enumerate(row) if k != true)
        losses.append(-math.log(numerator / (numerator + others)))
    found = am_softmax_loss(cosines, target, scale=scale, margin=margin)
    assert found.item() == pytest.approx(sum(losses) / len(losses), rel=1e-9)


def test_am_softmax_without_margin_is_cross_entropy() -> None:
    cosines, target = drawn(1, 2)
    weight = torch.tensor([0.3, 2.0], dtype=torch.float64)
    found = am_softmax_loss(cosines, target, scale=7.0, margin=0.0, weight=weight)
    assert found.item() == pytest.approx(F.cross_entropy(7.0 * cosines, target, weight=weight).item())


@given(st.integers(0, 1000), st.floats(1, 30), st.floats(0, 0.95), st.floats(-0.5, 0.5))
def test_oc_softmax_equals_the_papers_logarithm(seed: int, scale: float, bonafide: float, spoof: float) -> None:
    cosines, target = drawn(seed, 2)
    cosines = cosines[:, 0]
    # the paper counts bona fide as 0 and spoof as 1: log(1 + exp(α (m_y − cos)(−1)^y))
    margins, losses = (bonafide, spoof), []
    for cosine, label in zip(cosines.tolist(), (1 - target).tolist(), strict=True):
        losses.append(math.log(1 + math.exp(scale * (margins[label] - cosine) * (-1) ** label)))
    found = oc_softmax_loss(cosines, target, scale=scale, bonafide_margin=bonafide, spoof_margin=spoof)
    assert found.item() == pytest.approx(sum(losses) / len(losses), rel=1e-9)


def test_oc_softmax_defaults_are_published_and_weights_make_a_weighted_mean() -> None:
    cosines, target = torch.tensor([0.5, 0.5]), torch.tensor([1, 0])
    bonafide, spoof = math.log1p(math.exp(20 * 0.4)), math.log1p(math.exp(20 * 0.3))
    assert oc_softmax_loss(cosines, target).item() == pytest.approx((bonafide + spoof) / 2)
    found = oc_softmax_loss(cosines, target, weight=torch.tensor([1.0, 9.0]))
    assert found.item() == pytest.approx(0.9 * bonafide + 0.1 * spoof)


def test_far_from_the_margins_nothing_overflows() -> None:
    cosines = torch.tensor([-1.0, 1.0], requires_grad=True)
    loss = oc_softmax_loss(cosines, torch.tensor([1, 0]), scale=1e4)
    loss.backward()
    assert loss.item() == pytest.approx(1e4 * (1.9 + 0.8) / 2)
    assert cosines.grad.tolist() == pytest.approx([-5e3, 5e3])


def test_soft_cross_entropy_keeps_the_gradient_s_size():
    torch.manual_seed(0)
    teacher, logits = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    for temperature in (1.0, 3.0):
        x = logits.clone().requires_grad_()
        soft_cross_entropy(x, teacher, temperature).backward()
        expected = temperature * ((logits / temperature).softmax(1) - (teacher / temperature).softmax(1)) / 5
        torch.testing.assert_close(x.grad, expected)
    assert soft_cross_entropy(teacher, teacher, 2.0).item() == pytest.approx(0.0, abs=1e-12)
