import pytest
import torch
from torch import nn

from dyn_lightning.dynamize import dynamize
from dyn_lightning.errors import SettingError
from dyn_lightning.graph.usable import usable


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8))


def test_what_can_be_read_is_taken_as_it_is() -> None:
    net = small()
    assert usable(net) is net


def test_compiled_networks_and_parts_are_unwrapped() -> None:
    net, x = small(), torch.randn(3, 6)
    with pytest.warns(UserWarning, match="the network is compiled: what it was compiled from is taken"):
        dynamic = dynamize(torch.compile(net, backend="eager"), x)
    assert set(dynamic.widths) == {"0"}
    whole = nn.Sequential(torch.compile(net, backend="eager"), nn.ReLU(), nn.Linear(8, 2))
    with pytest.warns(UserWarning, match="0 is compiled"):
        found = usable(whole)
    assert found[0] is net
    assert found[2].weight is whole[2].weight
    with pytest.warns(UserWarning, match="0 is compiled"):
        assert set(dynamize(whole, x).widths) == {"0-0", "0-2"}
    assert type(whole[0]).__name__ == "OptimizedModule"
    net.compile(backend="eager")
    assert set(dynamize(net, x).widths) == {"0"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_cannot_be_read_is_named_with_the_way_out() -> None:
    net, x = small(), torch.randn(3, 6)
    traced = torch.jit.trace(net, x)
    for wrong, what in (
        (torch.jit.script(net), "the network is a scripted or traced module.* Give the nn.Module"),
        (traced, "the network is a scripted"),
        (nn.Sequential(nn.Linear(6, 6), traced), "1 is a scripted or traced module"),
        (nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2)), "0 is a LazyLinear that has no parameters yet. Call"),
        (nn.GRU(6, 8, 2), r"the network is a GRU by itself. Put it into a module, as nn.Sequential\(layer\)"),
        (nn.MultiheadAttention(6, 2), "the network is a MultiheadAttention by itself"),
    ):
        with pytest.raises(SettingError, match=what):
            dynamize(wrong, x)
