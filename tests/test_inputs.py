"""What a network is called with, and its modes around a call."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from dyn_lightning.inputs import call_arguments, evaluating, modes_kept, tensors_in


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


@pytest.mark.parametrize("kept", [evaluating, modes_kept])
def test_modes_are_put_back_one_by_one(kept) -> None:
    network = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2), nn.ReLU())).train()
    network[1][0].eval()
    before = [m.training for m in network.modules()]
    with kept(network):
        assert any(m.training for m in network.modules()) == (kept is modes_kept)
        network[1].train()
    assert [m.training for m in network.modules()] == before
    network[0].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), kept(network):
        network.eval()(torch.randn(3, 2))
    assert [m.training for m in network.modules()] == before
