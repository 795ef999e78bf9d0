"""Blocks give what the whole gives: resampling, reading, recurrent state, padded layers."""

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from torch import Tensor, nn

from dyn_lightning.data.audio import AudioError, read_audio
from dyn_lightning.features.spectral import MelFilterBank, Spectrogram
from dyn_lightning.inference.streaming import (
    FrameStream,
    StreamResampler,
    context_frames,
    read_blocks,
    streams_exactly,
)
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.modules.stacked_rnn import StackedRNN

HOP = 256
MIN_SAMPLES = 4096


class PaddedNet(nn.Module):
    """Convolutions that pad, between two kinds of recurrent layers, and a maximum over time."""

    def __init__(self, center: bool = False) -> None:
        super().__init__()
        self.spectrogram = Spectrogram(1024, HOP, center=center)
        self.mel = MelFilterBank(513, 20)
        self.first = nn.Conv1d(20, 16, 5, padding=2)
        self.lstm = nn.LSTM(16, 9, batch_first=True)
        self.second = nn.Conv1d(9, 7, 3, padding="same", dilation=2)
        self.gru = StackedRNN("GRU", 7, (5, 6))
        self.linear = nn.Linear(6, 1)
        self.pool = nn.MaxPool1d(5, 1, 2)

    def forward(self, audio: Tensor) -> Tensor:
        x = self.first((self.mel(self.spectrogram(audio)) + 1e-6).log()).transpose(1, 2)
        x = self.second(self.lstm(x)[0].transpose(1, 2))
        x, _ = self.gru(x.permute(2, 0, 1))
        return 10.0 * self.pool(self.linear(x).permute(1, 2, 0)).squeeze(1)


class BidirectionalNet(CRNNVAD):
    def __init__(self) -> None:
        super().__init__(20, 8, 6)
        self.gru = nn.GRU(8, 3, batch_first=True, bidirectional=True)


class NormalisedOverTime(CRNNVAD):
    def forward(self, audio: Tensor) -> Tensor:
        logits = super().forward(audio)
        return logits - logits.mean(-1, keepdim=True)


def speechlike(seconds: float, seed: int = 0) -> Tensor:
    """Noise whose level changes."""
    noise = torch.randn(round(seconds * 16000), generator=torch.Generator().manual_seed(seed))
    return 0.1 * noise * (1.01 + torch.sin(torch.arange(len(noise)) / 3000.0))


def stream_scores(stream: FrameStream, audio: Tensor, block: int) -> Tensor:
    return torch.cat([*(stream.push(piece) for piece in audio.split(block)), stream.finish()])


NETWORKS = {
    "CRNNVAD": (lambda: CRNNVAD(20, 16, 12), 0),
    "hangover": (lambda: CRNNVAD(20, 16, 12, hangover_frames=4), 8),
    "padded": (PaddedNet, 4 + 4 + 4),
    "centred": (lambda: PaddedNet(center=True), 4 + 4 + 4 + 2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_scores_are_those_of_the_whole(name):
    torch.manual_seed(0)
    make, frames = NETWORKS[name]
    network = make().eval()
    assert context_frames(network, HOP) == frames
    assert streams_exactly(network, HOP, frames, min_samples=MIN_SAMPLES)
    audio = speechlike(12.3)
    with torch.inference_mode():
        whole = network(audio[None])[0]
    for block in (700, 5000, 16000, 100_001, len(audio)):
        stream = FrameStream(network, HOP, frames, min_samples=MIN_SAMPLES)
        torch.testing.assert_close(stream_scores(stream, audio, block), whole, rtol=0, atol=1e-5)
    assert not network.gru._forward_hooks
    assert not network.gru._forward_pre_hooks


def test_scores_come_before_the_end():
    stream = FrameStream(CRNNVAD(20, 8, 6).eval(), HOP, 0, min_samples=MIN_SAMPLES)
    given = [len(stream.push(piece)) for piece in speechlike(10.0).split(16000)]
    assert min(given[1:]) >= 60
    assert len(stream.buffer) < 2 * 16000


def test_state_matters():
    """Without the carried state the same blocks give other scores, so equality is the carry's doing."""
    torch.manual_seed(0)
    network, audio = CRNNVAD(20, 16, 12).eval(), speechlike(5.0)
    with torch.inference_mode():
        whole = network(audio[None])[0]
    anew = FrameStream(network, HOP, 0, carry=False, min_samples=MIN_SAMPLES)
    scores = stream_scores(anew, audio, 16000)
    assert scores.shape == whole.shape
    assert (scores - whole).abs().max() > 1e-2


@pytest.mark.parametrize("make", [BidirectionalNet, lambda: NormalisedOverTime(20, 16, 12)])
def test_networks_that_look_at_everything_are_found_out(make):
    torch.manual_seed(0)
    assert not streams_exactly(make().eval(), HOP, 0, min_samples=MIN_SAMPLES)


def test_too_small_a_context_is_found_out():
    torch.manual_seed(0)
    assert not streams_exactly(PaddedNet().eval(), HOP, 1, min_samples=MIN_SAMPLES)


def test_windows_approach_the_whole():
    """Windows have every frame, and differ the less the more they overlap."""
    torch.manual_seed(0)
    network, audio = BidirectionalNet().eval(), speechlike(8.0)
    with torch.inference_mode():
        whole = network(audio[None])[0]
    differences = []
    for overlap in (1, 60):
        stream = FrameStream(network, HOP, overlap, carry=False, min_samples=MIN_SAMPLES)
        scores = stream_scores(stream, audio, 16000)
        assert scores.shape == whole.shape
        differences.append(float((scores - whole).abs().max()))
    assert differences[1] < 1e-5 < 1e-3 < differences[0]


def test_other_outputs_are_refused():
    with pytest.raises(ValueError, match="one score a frame"):
        FrameStream(nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 2, 3)), 1, 0, min_samples=8)


@pytest.mark.parametrize("rates", [(44100, 16000), (48000, 16000), (8000, 16000), (22050, 16000), (11025, 8000)])
@pytest.mark.parametrize("block", [1, 997, 4410, 10**6])
def test_resampling_equals_that_of_the_whole(rates, block):
    signal = torch.randn(9001 if block > 1 else 1001, generator=torch.Generator().manual_seed(1))
    resampler = StreamResampler(*rates)
    parts = torch.cat([*(resampler.push(piece) for piece in signal.split(block)), resampler.finish()])
    whole = torchaudio.functional.resample(signal, *rates)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("rate", "channels", "suffix"), [(16000, 1, "flac"), (44100, 2, "wav"), (8000, 3, "wav")])
def test_blocks_are_the_file(tmp_path, rate, channels, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal((rate * 2 + 17, channels)), rate)
    blocks = list(read_blocks(path, 16000, 0.3))
    assert len(blocks) >= 7
    np.testing.assert_allclose(torch.cat(blocks).numpy(), read_audio(path, 16000), rtol=0, atol=1e-5)


def test_bad_files_are_named(tmp_path):
    def message(path):
        with pytest.raises(AudioError) as error:
            list(read_blocks(path, 16000, 1.0))
        assert str(path) in str(error.value)
        return str(error.value)

    assert "no such file" in message(tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("hello")
    assert "cannot be decoded" in message(tmp_path / "text.wav")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    assert "no samples" in message(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan), 16000, subtype="FLOAT")
    assert "NaN" in message(tmp_path / "nan.wav")
    soundfile.write(tmp_path / "odd.wav", np.zeros(100), 44099)
    assert "44099 Hz" in message(tmp_path / "odd.wav")
    soundfile.write(tmp_path / "cut.flac", np.random.default_rng(0).standard_normal(48000) / 10, 16000)
    content = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[: len(content) // 2])
    assert "Replace it" in message(tmp_path / "cut.flac")
