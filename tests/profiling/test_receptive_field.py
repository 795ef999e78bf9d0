"""Measured receptive fields beside closed forms."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.features.spectral import Spectrogram
from dyn_lightning.models.resnet import ResNet34
from dyn_lightning.profiling.receptive_field import WHOLE, ReceptiveField, receptive_fields


def chain(*layers: tuple[int, int, int, int]) -> tuple[nn.Module, list[tuple[int, int]]]:
    """Convolutions of (kernel, stride, dilation, padding); for each (field, stride) by the textbook."""
    modules, expected, size, jump = [], [], 1, 1
    for kernel, stride, dilation, padding in layers:
        modules.append(nn.Conv1d(6, 6, kernel, stride, padding, dilation))
        size, jump = size + (kernel - 1) * dilation * jump, jump * stride
        expected.append((size, jump))
    return nn.Sequential(*modules), expected


@pytest.mark.parametrize(
    "layers",
    [
        [(3, 1, 1, 0)],
        [(3, 1, 1, 1), (3, 1, 2, 2), (3, 1, 4, 4)],
        [(10, 5, 1, 0), (8, 4, 1, 0), (4, 2, 1, 0), (4, 2, 1, 0)],
        [(7, 2, 1, 3), (3, 1, 1, 1), (3, 2, 3, 1), (1, 1, 1, 0)],
    ],
)
def test_chains_of_convolutions(layers: list[tuple[int, int, int, int]]) -> None:
    network, expected = chain(*layers)
    fields = receptive_fields(network, torch.zeros(1, 6, 1600))
    assert [(fields[str(i)].size, fields[str(i)].stride) for i in range(len(layers))] == expected
    assert fields[""] == fields[str(len(layers) - 1)]


def test_a_window_is_centred_on_its_output() -> None:
    fields = receptive_fields(chain((5, 1, 1, 0))[0], torch.zeros(1, 6, 50))
    assert fields["0"] == ReceptiveField(2.0, 2.0, 1.0)
    # Samples that fill no frame move nothing.
    assert receptive_fields(chain((5, 4, 1, 0))[0], torch.zeros(1, 6, 59))["0"] == ReceptiveField(2.0, 2.0, 4.0)


def test_causal_convolutions_see_no_future() -> None:
    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(4, 4, 3, dilation=4)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(nn.functional.pad(x, (8, 0)))

    field = receptive_fields(Causal(), torch.zeros(1, 4, 64))[""]
    assert field == ReceptiveField(8.0, 0.0, 1.0)
    assert field.latency == 1.0  # the step itself


def test_a_spectrogram_in_samples() -> None:
    field = receptive_fields(Spectrogram(512, 128), torch.zeros(1, 8000))[""]
    assert field.size == 511  # the window's first sample is zero
    assert field.stride == 128
    assert field.latency == 255 + 128


def test_branches_give_their_union() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.near, self.far = nn.Conv1d(4, 4, 3, padding=1), nn.Conv1d(4, 4, 3, padding=9, dilation=9)

        def forward(self, x: Tensor) -> Tensor:
            return self.near(x).relu() + self.far(x).relu()

    fields = receptive_fields(Branches(), torch.zeros(1, 4, 100))
    assert [fields[name].size for name in ("near", "far", "")] == [3, 19, 19]


class Recurrent(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 6, 3, padding=1)
        self.rnn = nn.GRU(6, 5, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.conv(x).transpose(1, 2))[0]


def test_layers_called_twice_show_their_widest_field() -> None:
    class Twice(Recurrent):
        def forward(self, x: Tensor) -> Tensor:
            early = self.act(self.conv(x))
            state = self.rnn(early.transpose(1, 2))[0].transpose(1, 2)
            return self.late(self.act(self.late(early))) + nn.functional.pad(state, (0, 0, 0, 1))

        def __init__(self) -> None:
            super().__init__()
            self.act, self.late = nn.Dropout(), nn.Conv1d(6, 6, 3, padding=1)

    fields = receptive_fields(Twice(), torch.zeros(1, 4, 60))
    assert [fields[name].size for name in ("conv", "late", "act")] == [3, 7, 5]
    assert fields[""] == ReceptiveField(math.inf, 3.0, 1.0)


def test_recurrence_has_no_bound_in_the_past() -> None:
    # Long enough that a gradient would drown in rounding: states halve at each step.
    field = receptive_fields(Recurrent(), torch.zeros(1, 4, 160))["rnn"]
    assert field == ReceptiveField(math.inf, 1.0, 1.0)
    assert receptive_fields(Recurrent(bidirectional=True), torch.zeros(1, 4, 40))["rnn"] == WHOLE


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("additive", [False, True])
def test_attention_sees_what_its_mask_leaves(causal: bool, additive: bool) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
            if additive:
                mask = torch.zeros_like(mask, dtype=x.dtype).masked_fill(mask, -torch.inf)
            return self.layer(x, src_mask=mask if causal else None)

    field = receptive_fields(Attention(), torch.zeros(1, 24, 8), time_dim=1)[""]
    assert field == (ReceptiveField(math.inf, 0.0, 1.0) if causal else WHOLE)


def test_upsampling_and_pooling() -> None:
    network = nn.Sequential(
        nn.MaxPool1d(2), nn.ConvTranspose1d(6, 6, 4, stride=4), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 2)
    )
    fields = receptive_fields(network, torch.zeros(1, 6, 64))
    assert (fields["0"].size, fields["0"].stride) == (2, 2)
    assert fields["1"].stride == 0.5
    assert fields["2"] == fields["4"] == fields[""] == WHOLE


def test_residual_stacks() -> None:
    fields = receptive_fields(ResNet34((4, 4, 4), (1, 2, 1)), torch.zeros(1, 1, 4, 64))
    # The stem's 3, then two convolutions a block; those behind a stride step over its multiples.
    assert fields["stacks.0.0.conv1"].size == 3 + 2
    assert (fields["stacks.1.1.conv2"].size, fields["stacks.1.1.conv2"].stride) == (3 + 4 + 2 + 3 * 4, 2)
    assert (fields["stacks.2.0"].size, fields["stacks.2.0"].stride) == (21 + 4 + 8, 4)
    assert fields["pool"] == fields["classifier"] == WHOLE


def test_the_signal_is_found_among_inputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(4, 4, 3)

        def forward(self, index: Tensor, x: Tensor, gain: float = 1.0) -> Tensor:
            return self.conv(x) * gain + index.sum()

    example = {"index": torch.arange(3), "x": torch.zeros(1, 4, 32), "gain": 2.0}
    assert receptive_fields(Two(), example)[""].size == 3
    assert receptive_fields(Two(), (torch.arange(3), torch.zeros(1, 4, 32)))[""].size == 3


def test_closed_rectifiers_and_lost_maxima_hide_nothing() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv1d(1, 1, 5), nn.ReLU(inplace=True), nn.MaxPool1d(3, 2, 1), nn.Conv1d(1, 1, 3), nn.ReLU6()]
    network = nn.Sequential(*layers, nn.MaxPool1d(2, ceil_mode=True), nn.MaxPool1d(3, 1, dilation=1), nn.Hardswish())
    field = receptive_fields(network, torch.zeros(1, 1, 400))[""]
    # 5, then 3 at 1, 3 at 2, 2 at 2, 3 at 4
    assert (field.size, field.stride) == (5 + 2 + 2 * 2 + 2 + 2 * 4, 4)


def test_code_that_insists_on_float32() -> None:
    class Insists(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(4, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x.float())

    assert receptive_fields(Insists(), torch.zeros(1, 4, 32))[""] == ReceptiveField(1.0, 1.0, 1.0)
    assert torch.get_default_dtype() == torch.float32


def test_the_network_is_left_as_it_was() -> None:
    network = Recurrent().train()
    receptive_fields(network, torch.zeros(1, 4, 16))
    assert network.training
    assert not any(m._forward_hooks for m in network.modules())


def test_what_cannot_be_measured_is_named() -> None:
    with pytest.raises(ValueError, match="no tensor of floats"):
        receptive_fields(nn.Embedding(3, 4), torch.zeros(1, 9, dtype=torch.long))
    with pytest.raises(ValueError, match="4 steps of time"):
        receptive_fields(nn.Conv1d(2, 2, 1), torch.zeros(1, 2, 4))
