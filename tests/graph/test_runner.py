import pytest
import torch
from torch import nn

from dyn_lightning.graph import read_graph


def test_the_network_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.Conv1d(3, 6, 1), nn.ReLU()).train()
    network[0].eval()
    network.sizes = [2, 3]
    state = {k: v.clone() for k, v in network.state_dict().items()}
    read_graph(network, torch.randn(2, 3, 5))
    assert network.training
    assert not network[0].training
    assert not network[0]._forward_hooks
    assert type(network[0].out_channels) is int
    assert [type(n) for n in network.sizes] == [int, int]
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    with pytest.raises(RuntimeError):
        read_graph(network, torch.randn(2, 4, 5))
    assert not network[0]._forward_hooks
    assert not network[0]._forward_pre_hooks
    assert network.training
    assert type(network[0].out_channels) is int
