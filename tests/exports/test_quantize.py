"""int8 networks: close to the float ones, smaller on disk, and back from their tensors bit for bit."""

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from dyn_lightning.exports.quantize import (
    QuantizationError,
    compare_int8,
    from_int8_state,
    int8_state,
    quantizable,
    quantize,
)
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.modules.stacked_rnn import StackedRNN


class Mixed(nn.Module):
    """Every layer that is quantised, and some that are not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 6, 1)
        self.norm = nn.BatchNorm1d(6)
        self.stack = StackedRNN("LSTM", 6, (5, 4), batch_first=True, bidirectional=True)
        self.gru = nn.GRU(8, 6, 2, batch_first=True)
        self.without_bias = nn.GRU(6, 6, bias=False)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.cells = nn.ModuleList([nn.GRUCell(6, 5), nn.RNNCell(5, 5)])
        self.lstm_cell = nn.LSTMCell(5, 5)
        self.linear = nn.Linear(5, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x)).transpose(1, 2)
        y = self.without_bias(self.gru(self.stack(y)[0])[0])[0]
        y = self.attention(y, y, y)[0].mean(1)
        for cell in self.cells:
            y = cell(y)
        z: Tensor = self.linear(self.lstm_cell(y)[0])
        return z


def mixed() -> Mixed:
    torch.manual_seed(0)
    network = Mixed().eval()
    nn.init.normal_(network.norm.running_mean)
    return network


def test_linear_and_recurrent_layers_are_quantised():
    network = mixed()
    names = ["stack.layers.0", "stack.layers.1", "gru", "cells.0", "cells.1", "lstm_cell", "linear"]
    assert quantizable(network) == names
    before = {k: v.clone() for k, v in network.state_dict().items()}
    quantised = quantize(network)
    assert type(quantised.gru).__name__ == "GRU"
    assert type(quantised.gru).__module__.startswith("torch.ao.nn.quantized.dynamic")
    assert type(quantised.without_bias) is nn.GRU
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)
    x = torch.randn(3, 4, 20)
    difference = (quantised(x) - network(x)).abs().max() / network(x).abs().max()
    assert 0 < difference < 0.03


def test_weights_are_rounded_to_the_row():
    """Against the arithmetic: each row in steps of its largest magnitude over 127.5."""
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(16, 4)).eval()
    with torch.no_grad():
        layer[0].weight[2] *= 100.0
    state = int8_state(quantize(layer))
    weight, scales = layer[0].weight.detach(), state["0.weight.scales"].float()
    torch.testing.assert_close(scales, weight.abs().amax(1) / 127.5)
    assert state["0.weight"].dtype == torch.int8
    assert ((state["0.weight"] * scales[:, None] - weight).abs() <= 0.5001 * scales[:, None]).all()


def test_back_from_its_tensors_bit_for_bit():
    quantised = quantize(mixed())
    state = safetensors.torch.load(safetensors.torch.save(int8_state(quantised)))
    torch.manual_seed(1)
    again = from_int8_state(Mixed(), state)
    x = torch.randn(3, 4, 20)
    torch.testing.assert_close(again(x), quantised(x), rtol=0, atol=0)
    del state["conv.bias"]
    with pytest.raises(QuantizationError, match=r"conv\.bias"):
        from_int8_state(Mixed(), state)


def test_report_weighs_and_compares():
    torch.manual_seed(0)
    network = CRNNVAD(20, 24, 32).eval()
    quantised = quantize(network)
    seen = []

    def evaluate(net: nn.Module) -> dict[str, float]:
        seen.append(net)
        return {"eer": float(len(seen))}

    report = compare_int8(network, quantised, torch.randn(1, 8000), evaluate=evaluate, repeats=2)
    assert seen == [quantised, network]
    assert (report.metrics, report.metrics_float) == ({"eer": 1.0}, {"eer": 2.0})
    assert report.bytes_float == len(safetensors.torch.save(dict(network.state_dict())))
    assert report.bytes < 0.7 * report.bytes_float  # the filter bank stays as it is
    assert report.layers == ["gru", "linear"]
    assert report.latency_ms > 0
    assert 0 < report.largest_relative_difference < 0.5
    assert "eer 2 → 1" in report.summary()


def test_nothing_to_quantise_is_an_error():
    with pytest.raises(QuantizationError, match="Conv1d has no linear or recurrent layer"):
        quantize(nn.Conv1d(1, 1, 1))
