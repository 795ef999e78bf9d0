"""One frame at a time gives the whole's frames; what is not causal is named."""

import json
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.exports.export import export_onnx
from dyn_lightning.exports.frame_by_frame import FrameByFrame
from dyn_lightning.exports.frame_plan import NotCausalError
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.modules.stacked_rnn import StackedRNN


class Causal(nn.Module):
    """Convolutions padded in every causal way, branches of different delay, norms, and a recurrent layer behind."""

    def __init__(self) -> None:
        super().__init__()
        self.unpadded = nn.Conv1d(6, 8, 3)
        self.chomped = nn.Conv1d(8, 8, 3, dilation=2, padding=4, groups=2)
        self.padded = nn.Conv1d(8, 8, 3, dilation=4)
        self.gate = nn.Conv1d(8, 8, 2)
        self.norm = nn.BatchNorm1d(8)
        self.layer_norm = nn.LayerNorm(8)
        self.gru = nn.GRU(8, 5, 2, batch_first=True)
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x: Tensor) -> Tensor:
        x = self.unpadded(x)
        x = x + self.norm(torch.relu(self.chomped(x)[..., :-4]))
        x = x + self.padded(F.pad(x, (8, 0)))
        x = x[:, :, 1:] * self.gate(x).sigmoid()
        y, _ = self.gru(self.layer_norm(x.transpose(1, 2)))
        return y


class Plain2d(nn.Module):
    """Bands and frames: a convolution over both, flattened into features."""

    def __init__(self) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((2, 0, 1, 1))
        self.conv = nn.Conv2d(1, 4, 3)
        self.linear = nn.Linear(4 * 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(self.pad(x.unsqueeze(1)))
        return self.linear(y.flatten(1, 2).transpose(1, 2))


class Only(nn.Module):
    """A recurrent layer's output alone."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.rnn(x)[0]
        return y


def assert_same(network: nn.Module, x: Tensor, frames: FrameByFrame, whole: Tensor | None = None) -> None:
    with torch.no_grad():
        expected = network(x) if whole is None else whole
    torch.testing.assert_close(frames.run(x), expected, rtol=1e-5, atol=1e-6)


def test_all_causal_layers_together():
    torch.manual_seed(0)
    network = Causal().eval()
    frames = FrameByFrame(network, torch.randn(2, 6, 40))
    assert frames.delay == 3
    assert_same(network, torch.randn(3, 6, 57), frames)
    assert_same(network, torch.randn(1, 6, 5), frames)
    assert frames.initial_state(3)["gru.h"].shape == (2, 3, 5)


def test_the_frames_are_not_those_of_a_network_that_forgets():
    """The state matters: without it the same frames give others."""
    torch.manual_seed(0)
    frames = FrameByFrame(Causal().eval(), torch.randn(2, 6, 40))
    x, state = torch.randn(2, 6, 20), frames.initial_state(2)
    for t in range(20):
        y, state = frames(x[..., t : t + 1], state)
    fresh = {**frames.initial_state(2), "frames": state["frames"]}
    assert (frames(x[..., -1:], fresh)[0] - y).abs().max() > 1e-2


@pytest.mark.parametrize(
    "rnn",
    [
        nn.LSTM(4, 3, proj_size=2, batch_first=True),
        nn.RNN(4, 3, batch_first=True),
        StackedRNN("LSTM", 4, (5, 3), batch_first=True),
        nn.GRU(4, 3, bias=False, batch_first=True),
    ],
    ids=lambda v: type(v).__name__,
)
def test_recurrent_layers(rnn):
    torch.manual_seed(0)
    network, x = Only(rnn).eval(), torch.randn(2, 9, 4)
    assert_same(network, x, FrameByFrame(network, x, time_dim=1))


def test_bands_and_frames():
    torch.manual_seed(0)
    network = Plain2d().eval()
    x = torch.randn(2, 8, 12)
    assert_same(network, x, FrameByFrame(network, x))


def test_vad_behind_its_spectrogram():
    torch.manual_seed(0)
    network = CRNNVAD(20, 12, 10).eval()
    audio = torch.randn(2, 16000)
    frames = FrameByFrame(network, audio, after="spectrogram")
    assert frames.delay == 2
    assert_same(network, network.spectrogram(audio), frames, network(audio).detach())


def test_onnx_with_the_state_as_input_and_output(tmp_path):
    import onnxruntime

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(4, 6, 3), nn.PReLU(), nn.Conv1d(6, 5, 2, dilation=2)).eval()
    frames = FrameByFrame(network, torch.randn(2, 4, 12))
    arguments, shapes = frames.export_arguments()
    check = export_onnx(frames, arguments, tmp_path / "step.onnx", dynamic_shapes=shapes)
    assert check.free == [[0], [], [0], [0]]
    session = onnxruntime.InferenceSession(tmp_path / "step.onnx", providers=["CPUExecutionProvider"])
    x, state = torch.randn(3, 4, 20), [v.numpy() for v in frames.initial_state(3).values()]
    names, outputs = [i.name for i in session.get_inputs()], []
    assert names == ["frame", "state_frames", *(f"state_{name}" for name in frames.kept)]
    assert [o.name for o in session.get_outputs()] == ["output", *(f"{name}_next" for name in names[1:])]
    assert json.loads(session.get_modelmeta().custom_metadata_map["delay_frames"]) == frames.delay
    for t in range(20):
        given = dict(zip(names, [x[..., t : t + 1].numpy(), *state], strict=True))
        y, *state = session.run(None, given)
        outputs.append(torch.from_numpy(y))
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(outputs[frames.delay :], -1), network(x), rtol=1e-5, atol=1e-5)


def test_a_wrong_call_is_named():
    frames = FrameByFrame(nn.Conv1d(4, 3, 3).eval(), torch.randn(2, 4, 9))
    with pytest.raises(ValueError, match="one frame a call, not 2"):
        frames(torch.randn(2, 4, 2), frames.initial_state(2))
    with pytest.raises(ValueError, match="initial_state"):
        frames(torch.randn(2, 4, 1), {})
    with pytest.raises(ValueError, match=r"state conv1d has shape \(3, 4, 2\), not \(2, 4, 2\)"):
        frames(torch.randn(2, 4, 1), frames.initial_state(3))
    with pytest.raises(NotCausalError, match="no layer 'mel' runs; there are a"):
        FrameByFrame(nn.Sequential(OrderedDict(a=nn.Conv1d(4, 3, 1))), torch.randn(2, 4, 9), after="mel")
