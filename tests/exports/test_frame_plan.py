"""Layers that are not causal are named, each for what it does."""

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.exports.frame_by_frame import FrameByFrame
from dyn_lightning.exports.frame_plan import NotCausalError


class Backwards(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 3, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.rnn(x.transpose(1, 2))[0]
        return y


class Learned(nn.Module):
    """Starts its recurrent layer from a learned state."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 3, batch_first=True)
        self.start = nn.Parameter(torch.ones(1, 1, 3))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.rnn(x.transpose(1, 2), self.start.repeat(1, len(x), 1))[0]
        return y


CASES = {
    "padding": (nn.Sequential(nn.Conv1d(6, 6, 3), nn.Conv1d(6, 4, 3, padding=1)), "^1 looks 1 frames ahead"),
    "inner padding": (nn.Sequential(nn.Conv1d(6, 6, 5, padding="same"), nn.Conv1d(6, 6, 3)), "^0 looks 2 frames ahead"),
    "stride": (nn.Sequential(nn.Conv1d(6, 6, 3, stride=2)), "^0 has stride 2"),
    "pooling": (nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool1d(1)), "^1 .* looks at all of them"),
    "maximum": (nn.Sequential(nn.ReLU(), nn.MaxPool1d(3, 1, 1)), "^1 .* gives other frames one by one"),
    "softmax": (nn.Sequential(nn.Softmax(-1)), "^0 .* gives other frames one by one"),
    "group norm": (nn.Sequential(nn.Conv1d(6, 6, 1), nn.GroupNorm(2, 6)), "^1 .* gives other frames one by one"),
    "reflection": (nn.Sequential(nn.ReflectionPad1d((2, 0)), nn.Conv1d(6, 6, 3)), "^0 .* something else than zeros"),
    "bidirectional": (Backwards(), "^rnn is bidirectional"),
    "learned state": (Learned(), "^rnn is given an initial state"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_layer_is_named(name):
    torch.manual_seed(0)
    network, message = CASES[name]
    with pytest.raises(NotCausalError, match=message):
        FrameByFrame(network.eval(), torch.randn(2, 6, 12))
