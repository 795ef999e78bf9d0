"""Compensation: nothing is lost where units depend on others, the least squares by hand, and less loss when trained."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.dynamize import dynamize
from dyn_lightning.errors import SettingError
from dyn_lightning.network.compensate import compensate, cut, gather
from tests.trained import WaveNet, shapes, trained


class Last(nn.Module):
    def forward(self, x: Any) -> Tensor:
        return x[0]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.make = nn.Linear(3, 6)
        self.attention, self.out = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.make(x)
        return self.out(self.attention(x, x, x)[0])  # type: ignore[no-any-return]


def copy_units(layer: Any, kept: int) -> None:
    """Let the units behind the first ``kept`` of a layer be mixtures of these, and a constant."""
    weight, bias = layer.weight.data, layer.bias.data
    mix = torch.randn(len(bias) - kept, kept)
    weight[kept:] = (mix @ weight[:kept].flatten(1)).view_as(weight[kept:])
    bias[kept:] = mix @ bias[:kept] + 1.5


NETS = {
    "linear": (lambda: nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 2)), (16, 3), "0"),
    "conv": (lambda: nn.Sequential(nn.Conv1d(3, 6, 3), nn.Conv1d(6, 2, 3)), (4, 3, 9), "0"),
    "conv2d_norm": (
        lambda: nn.Sequential(nn.Conv2d(1, 6, 3), nn.Conv2d(6, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
                              nn.Flatten(), nn.Linear(4 * 9, 2)), (8, 1, 7, 7), "0"),
    "flatten": (lambda: nn.Sequential(nn.Conv1d(3, 6, 3), nn.Flatten(), nn.Linear(42, 2)), (24, 3, 9), "0"),
    "gru": (lambda: nn.Sequential(nn.Linear(3, 6), nn.GRU(6, 5, 2, batch_first=True), Last(), nn.Linear(5, 2)),
            (4, 9, 3), "0"),
    "attention": (Attention, (4, 5, 3), "make"),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_nothing_is_lost_where_units_depend_on_those_that_stay(name: str):
    torch.manual_seed(0)
    make, shape, width = NETS[name]
    net, x = make(), torch.randn(*shape)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)  # type: ignore[arg-type]
    copy_units(net.make if name == "attention" else net[0], 4)
    dynamic = dynamize(net, x[:2]).eval()
    before = net.eval()(x)
    statistics = gather(dynamic, [x])
    key = next(n for n in dynamic.widths if n.startswith(width))
    bare = copy.deepcopy(dynamic)
    bare.widths[key].freeze(4)
    with cut(dynamic, {key: 4}, statistics, ridge=1e-9) as small:
        after = small(x)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)
    assert (bare(x) - before).abs().max() > 0.05
    torch.testing.assert_close(dynamic(x), before)  # all is as it was
    assert not dynamic.widths[key].frozen


def test_it_is_the_least_squares_solution():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)), torch.randn(60, 3)
    dynamic = dynamize(net, x[:2]).eval()
    statistics = gather(dynamic, [x[:20], x[20:]])
    hidden, target = torch.tanh(net[0](x)).detach(), net(x).detach()
    design = torch.cat([hidden[:, :3], torch.ones(60, 1)], 1)
    expected = torch.linalg.lstsq(design.double(), target.double()).solution
    compensate(dynamic, statistics, {"0": 3}, ridge=1e-12)
    torch.testing.assert_close(dynamic[2].weight[:, :3].T.double(), expected[:3], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(dynamic[2].bias.double(), expected[3], rtol=1e-3, atol=1e-4)


def test_the_mean_alone_is_folded_into_the_bias():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Conv1d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(42, 2)), torch.randn(24, 3, 9)
    dynamic = dynamize(net, x[:2]).eval()
    mean = net[0](x).relu().mean(0)[4:]  # of each removed channel at each place
    expected = net[3].bias + (net[3].weight.view(2, 6, 7)[:, 4:] * mean).sum((1, 2))
    weight = net[3].weight.clone()
    compensate(dynamic, gather(dynamic, [x]), {"0": 4}, how="mean")
    torch.testing.assert_close(dynamic[3].bias, expected)
    assert torch.equal(dynamic[3].weight, weight)


def test_what_is_left_out_is_said():
    net = nn.Sequential(
        nn.Conv1d(3, 8, 3), nn.Conv1d(8, 8, 3, padding=1), nn.Conv1d(8, 8, 3, groups=2), nn.Conv1d(8, 4, 1, bias=False),
        nn.Conv1d(4, 2, 1),
    )  # fmt: skip
    dynamic = dynamize(net, torch.randn(2, 3, 9)).eval()
    statistics = gather(dynamic, [torch.randn(4, 3, 9)])
    sizes = {name: width.full_size // 2 for name, width in dynamic.widths.items()}
    told = compensate(dynamic, statistics, sizes)
    assert told["1.weight"] == "padded with zeros: inexact at the borders"
    assert told["2.weight"] == "a convolution in groups is not compensated"
    assert told["3.weight"] == "no bias, and no batch norm right behind: without the constant"
    assert "4.weight" not in told
    with pytest.raises(SettingError, match="there is no width x; there are 0"):
        compensate(dynamic, statistics, {"x": 1})
    with pytest.raises(SettingError, match="how='all' is unknown"):
        compensate(dynamic, statistics, sizes, how="all")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="no inputs to gather"):
        gather(dynamic, [])


def test_statistics_of_a_network_that_is_cut_already():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 2)), torch.randn(16, 3)
    copy_units(net[0], 3)
    dynamic = dynamize(net, x[:2]).eval()
    dynamic.widths["0"].freeze(5)
    before = dynamic(x)
    with cut(dynamic, {"0": 3}, gather(dynamic, [x]), ridge=1e-9) as small:
        torch.testing.assert_close(small(x), before, rtol=1e-3, atol=1e-4)
    assert dynamic.widths["0"].size == 5


def test_a_trained_network_loses_less():
    net = trained(WaveNet((8, 10, 12), recurrent=True), steps=60)
    dynamic = dynamize(net, torch.randn(2, 1, 48)).eval()
    (x, _), (unseen, _) = shapes(256, 5), shapes(256, 6)
    statistics, target = gather(dynamic, [x]), net(unseen)
    lost = {}
    for how in ("nothing", "mean", "regression"):
        with cut(dynamic, {n: w.full_size * 3 // 4 for n, w in dynamic.widths.items()}, statistics, how=how) as small:  # type: ignore[arg-type]
            lost[how] = float((small(unseen) - target).square().mean().detach())
    assert lost["regression"] < 0.5 * lost["mean"]
    assert lost["mean"] < lost["nothing"]


def test_features_that_are_always_the_same_are_their_mean():
    net, x = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)), torch.randn(16, 3)
    net[0].weight.data.zero_()
    net[0].bias.data.fill_(2.0)
    dynamic = dynamize(net, x[:2]).eval()
    before = net(x).detach()
    compensate(dynamic, gather(dynamic, [x]), {"0": 2})
    dynamic.widths["0"].freeze(2)
    torch.testing.assert_close(dynamic(x), before)
