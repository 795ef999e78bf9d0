"""What a network takes and gives."""

import torch
from torch import nn

from dyn_lightning.artifact.contract import contract_of


def test_what_is_open_and_what_is_fixed():
    network = nn.Sequential(nn.Conv1d(4, 6, 3), nn.ReLU(), nn.Conv1d(6, 5, 2, dilation=2))
    found = contract_of(network.train(), torch.randn(2, 4, 12), {"output_name": "logits"})
    assert found == {
        "inputs": [{"name": "input", "shape": ["batch", 4, "time"], "dtype": "float32"}],
        "outputs": [{"name": "logits", "shape": ["batch", 5, "time"], "dtype": "float32"}],
        "minimum_length": 5,
    }
    assert network.training
    flat = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    assert contract_of(flat, torch.randn(2, 4, 3), {}) == {
        "inputs": [{"name": "input", "shape": ["batch", 4, 3], "dtype": "float32"}],
        "outputs": [{"name": "output", "shape": ["batch", 2], "dtype": "float32"}],
    }


def test_several_inputs_and_outputs_have_the_examples_shapes():
    network = nn.LSTM(3, 4)
    state = (torch.zeros(1, 2, 4), torch.zeros(1, 2, 4))
    found = contract_of(network, (torch.randn(7, 2, 3), state), {"input_name": "frames"})
    assert [entry["name"] for entry in found["inputs"]] == ["frames", "hx_0", "hx_1"]
    assert [entry["name"] for entry in found["outputs"]] == ["output_0", "output_1_0", "output_1_1"]
    assert found["inputs"][0]["shape"] == [7, 2, 3]


def test_an_example_that_does_not_fit_says_nothing():
    assert contract_of(nn.Linear(3, 2), torch.ones(1, 4), {}) == {}
