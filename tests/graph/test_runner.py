from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from dyn_lightning.graph import call_arguments, read_graph, tensors_in


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


def test_tensors_in_any_container() -> None:
    @dataclass
    class Box:
        one: Tensor
        other: Any

    x = [torch.full((1,), float(i)) for i in range(5)]
    packed = pack_padded_sequence(torch.randn(3, 1, 2), torch.tensor([3]))
    found = tensors_in({"a": [x[0], (x[1], None)], "b": Box(x[2], {"c": x[3]}), "d": "text"})
    assert [t.item() for t in found] == [0.0, 1.0, 2.0, 3.0]
    assert len(tensors_in(packed)) == 2


def test_call_arguments() -> None:
    x = torch.randn(1)
    assert call_arguments(x) == ((x,), {})
    assert call_arguments([x, x]) == ((x, x), {})
    assert call_arguments({"audio": x}) == ((), {"audio": x})
