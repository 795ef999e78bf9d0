"""Where boundary noise is put: behind norms that would bring a fading unit back to the scale of the others."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.dynamize import dynamize
from dyn_lightning.layers.base import DynamicLayer


def block(*between: nn.Module, channels: int = 8) -> nn.Sequential:
    """A convolution, layers that stand between, and one that reads them all."""
    return nn.Sequential(nn.Conv1d(3, channels, 3), *between, nn.Conv1d(channels, 2, 1))


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), nn.Conv1d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.dropout(F.relu(self.conv(x)), 0.0, self.training)
        assert y.shape[1] == self.conv.out_channels
        return self.out(self.norm(y))


class ReadTwice(Functional):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.out(self.norm(y) + y)


class SharedNorm(Functional):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv1d(3, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(self.conv(x)) + self.norm(self.other(x)))


class Softened(Functional):
    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(self.conv(x).softmax(1)))


CASES: dict[str, tuple[nn.Module, set[str]]] = {
    "norm": (block(nn.BatchNorm1d(8), nn.ReLU()), {"1"}),
    "no affine": (block(nn.BatchNorm1d(8, affine=False)), {"1"}),
    "instance norm": (block(nn.InstanceNorm1d(8)), {"1"}),
    "affine instance norm": (block(nn.InstanceNorm1d(8, affine=True)), {"1"}),
    "activation first": (block(nn.ReLU(), nn.MaxPool1d(2), nn.BatchNorm1d(8)), {"3"}),
    "depthwise": (block(nn.BatchNorm1d(8), nn.SiLU(), nn.Conv1d(8, 8, 3, groups=8), nn.BatchNorm1d(8)), {"4"}),
    "layer norm": (block(nn.GroupNorm(1, 8)), {"0"}),
    "functions": (Functional(), {"norm"}),
    "read twice": (ReadTwice(), {"conv"}),
    "shared norm": (SharedNorm(), {"conv", "other"}),
    "softmax": (Softened(), {"conv"}),
}


def noisy_layers(dynamic: nn.Module) -> set[str]:
    return {n for n, m in dynamic.named_modules() if isinstance(m, DynamicLayer) and m.noisy_width is not None}


@pytest.mark.parametrize("name", CASES)
def test_noise_is_made_once_behind_the_last_norm_over_each_element(name: str) -> None:
    network, places = CASES[name]
    assert noisy_layers(dynamize(network, torch.randn(2, 3, 20))) == places


@pytest.mark.parametrize("name", ["norm", "no affine", "instance norm", "activation first", "depthwise", "functions"])
def test_a_unit_that_leaves_has_faded_and_nothing_jumps(name: str) -> None:
    """The output of training just above an integer size is that at the size, to the boundary unit's amplitude."""
    torch.manual_seed(0)
    network, _ = CASES[name]
    dynamic = dynamize(network, torch.randn(2, 3, 20)).train()
    (width,) = dynamic.widths.values()
    x, outputs = torch.randn(16, 3, 40), []
    for k in (5.0, 5.002):
        width.set_lam(k / 8)
        outputs.append(dynamic(x).detach())
        assert width.current == (5 if k == 5.0 else 6)
    assert (outputs[1] - outputs[0]).abs().max() < 0.02 * outputs[0].abs().max()


def test_fading_alone_has_a_gradient_behind_a_norm() -> None:
    torch.manual_seed(0)
    dynamic = dynamize(CASES["norm"][0], torch.randn(2, 3, 20), boundary="attenuation").train()
    (width,) = dynamic.widths.values()
    width.set_lam(0.8)
    x = torch.randn(16, 3, 40)

    def loss() -> Tensor:
        return dynamic(x).square().mean()

    loss().backward()
    step = 1e-3
    values = []
    for shift in (step, -step):
        with torch.no_grad():
            width.theta.add_(shift)
            values.append(loss().item())
            width.theta.sub_(shift)
    assert width.theta.grad is not None
    assert width.theta.grad.item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=0.02)
    assert abs(width.theta.grad.item()) > 1e-3
