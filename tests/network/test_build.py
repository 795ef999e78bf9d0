from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.features.spectral import FixedScaling, LogCompression, MelFilterBank
from dyn_lightning.graph import Graph, read_graph
from dyn_lightning.layers import DynamicLayer
from dyn_lightning.network.build import build, noise_makers, resamplable
from dyn_lightning.network.dynamic import run_in_eval
from dyn_lightning.widths.width import Width


def made(net: nn.Module, x: Any, spacing: str = "respaced", learn: tuple[str, ...] = ()) -> tuple[Any, Graph]:
    graph = read_graph(net, x)
    chosen = [s for s in graph.roots() if s.reason is None and (not learn or s.names[0] in learn)]
    names = {size: size.names[0].replace(".", "-") for size in graph.roots()}
    return build(net, graph, chosen, 2.0, spacing, partial(Width, boundary="rotation"), names), graph


def test_layers_hold_the_widths_of_what_was_chosen() -> None:
    net = nn.Sequential(nn.Conv1d(3, 8, 1), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 6, 1), nn.Conv1d(6, 2, 1))
    x = torch.randn(2, 3, 9)
    dynamic, _ = made(net, x, learn=("0",))
    assert list(dynamic.widths) == ["0"]
    width = dynamic.widths["0"]
    assert width.boundary == "rotation"
    assert dynamic[0].out_width.simple is dynamic[1].in_width.simple is dynamic[3].in_width.simple is width
    assert dynamic[3].out_width is None
    assert [isinstance(m, DynamicLayer) for m in dynamic] == [True, True, False, True, False]
    assert type(dynamic[4]) is nn.Conv1d
    assert dynamic.plain_class is nn.Sequential
    assert dynamic.duration_s == 2.0
    assert dynamic.complexity.unit == "flops_per_second"
    assert not any(isinstance(m, DynamicLayer) for m in net)
    for one, other in zip(run_in_eval(dynamic, x), run_in_eval(net, x), strict=True):
        torch.testing.assert_close(one, other)


def test_a_depthwise_convolution_follows_and_makes_nothing() -> None:
    net = nn.Sequential(nn.Conv1d(3, 8, 1), nn.Conv1d(8, 16, 3, groups=8), nn.Conv1d(16, 2, 1))
    dynamic, _ = made(net, torch.randn(2, 3, 9))
    assert dynamic[1].makes() == set()
    assert dynamic[2].in_width.factors == (dynamic.widths["0"], 2)


def test_numbers_and_bare_parameters_are_listed() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sizes = [4, 2]
            self.a, self.b = nn.Linear(3, 6), nn.Linear(6, 2)
            self.gain = nn.Parameter(torch.ones(6))

        def forward(self, x: Tensor) -> Tensor:
            one, other = (self.a(x) * self.gain).split(self.sizes, -1)
            return self.b(torch.cat([other, one], -1))

    dynamic, _ = made(Net(), torch.randn(5, 3))
    assert [(n.name, n.index, n.layout.full_size) for n in dynamic.numbers] == [("sizes", 0, 4), ("sizes", 1, 2)]
    (bare,) = dynamic.bare
    assert (bare.name, bare.makes) == ("gain", ())
    four, two = (dynamic.widths[n] for n in dynamic.widths)
    four.freeze(3)
    two.freeze(1)
    assert bare.cut().shape == (4,)
    assert dynamic.b.in_width.indices().tolist() == [0, 2, 3, 4]  # what was joined the other way round
    dynamic(torch.randn(5, 3))
    assert dynamic.sizes == [4, 2]


def bank(*behind: nn.Module) -> tuple[nn.Module, Tensor]:
    return nn.Sequential(MelFilterBank(17, 8), LogCompression(), *behind), torch.rand(2, 17, 5)


@pytest.mark.parametrize(
    ("behind", "maker", "resampled"),
    [
        ((nn.Conv1d(8, 2, 1),), "1", True),
        ((FixedScaling(), nn.Conv1d(8, 2, 1)), "2", True),
        ((nn.ReLU(), nn.Conv1d(8, 2, 1)), "1", True),
        ((nn.BatchNorm1d(8), nn.Conv1d(8, 2, 1)), "1", False),
        ((nn.Conv1d(8, 8, 1, groups=8), nn.Conv1d(8, 2, 1)), "1", False),
        ((nn.Flatten(), nn.Linear(40, 2)), "1", False),
    ],
    ids=str,
)
def test_who_makes_the_noise_of_bands_and_whether_they_are_resampled(
    behind: tuple[nn.Module, ...], maker: str, resampled: bool
) -> None:
    net, x = bank(*behind)
    graph = read_graph(net, x)
    makers = noise_makers(net, graph)
    assert list(makers) == [maker]
    assert resamplable(net, graph) == (set(makers.values()) if resampled else set())
    for spacing in ("respaced", "ranked"):
        dynamic, _ = made(net, x, spacing, learn=("0",))
        assert dynamic.widths["0"].resampled == (resampled and spacing == "respaced")


def test_bands_with_a_bare_gain_are_ranked() -> None:
    class Gain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(8, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.gain

    net, x = bank(Gain(), nn.Conv1d(8, 2, 1))
    assert resamplable(net, read_graph(net, x)) == set()


def test_reasons_are_kept() -> None:
    dynamic, _ = made(nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)), torch.randn(2, 3))
    assert dynamic.fixed_reasons == {"1": "it is part of the network's output"}


def test_parameters_of_no_layer_are_counted() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 6), nn.Linear(6, 2)
            self.gain, self.unused = nn.Parameter(torch.ones(6)), nn.Parameter(torch.ones(9))

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x) * self.gain)

    dynamic, _ = made(Net(), torch.randn(2, 3))
    full = sum(p.numel() for p in Net().parameters())
    assert dynamic.complexity.parameters_now() == full
    dynamic.widths["a"].freeze(4)
    assert dynamic.complexity.parameters_now() == full - 2 * (3 + 1 + 2 + 1)
