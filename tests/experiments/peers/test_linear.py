"""λ linear: the same network and gradient as with log λ, by another parameter."""

import pytest
import torch
from torch import nn

from dyn_lightning.dynamize import dynamize
from experiments.peers.linear import LinearWidth, make_linear


def loss_and_gradient(dynamic, lam):
    width = dynamic.widths["0"]
    width.set_lam(lam)
    torch.manual_seed(1)
    loss = dynamic(torch.ones(3, 5)).square().mean() + dynamic.complexity.flops_per_second() * 1e-4
    (gradient,) = torch.autograd.grad(loss, width.theta)
    return loss.item(), gradient.item()


@pytest.mark.parametrize("boundary", ["taper", "paper", "attenuation"])
@pytest.mark.parametrize("lam", [0.31, 0.87])
def test_the_gradient_by_lambda_is_that_by_its_logarithm_over_lambda(boundary, lam):
    torch.manual_seed(0)
    dynamic = dynamize(nn.Sequential(nn.Linear(5, 16), nn.Linear(16, 2)), torch.zeros(1, 5), boundary=boundary).train()
    loss, by_log = loss_and_gradient(dynamic, lam)
    make_linear(dynamic.widths.values())
    linear_loss, by_lam = loss_and_gradient(dynamic, lam)
    assert linear_loss == pytest.approx(loss, rel=1e-6)
    assert by_lam == pytest.approx(by_log / lam, rel=1e-4)


def test_it_starts_where_it_was_and_stays_within_its_limits():
    dynamic = dynamize(nn.Sequential(nn.Linear(5, 16), nn.Linear(16, 2)), torch.zeros(1, 5))
    dynamic.widths["0"].set_lam(0.5)
    make_linear(dynamic.widths.values())
    (width,) = dynamic.widths.values()
    assert isinstance(width, LinearWidth)
    assert width.theta.item() == pytest.approx(0.5)
    assert width.size == 8
    for value, kept in ((1.7, 1.0), (-3.0, 1 / 16)):
        width.theta.data.fill_(value)
        width.clamp_()
        assert float(width.lam.detach()) == pytest.approx(kept)
    with pytest.raises(ValueError, match="λ must lie"):
        width.set_lam(0.0)
