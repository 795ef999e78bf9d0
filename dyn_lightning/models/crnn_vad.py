"""CRNNVAD: frame-wise voice activity detection by a convolution and a GRU over log-mel frames."""

from __future__ import annotations

from torch import Tensor, nn

from dyn_lightning.features.spectral import (
    FixedScaling,
    LogCompression,
    MelFilterBank,
    Spectrogram,
    check_min_samples,
)

KERNEL_SIZE = 3


class CRNNVAD(nn.Module):
    """Audio to one logit of speech per frame (arXiv 2601.13704, table of voice activity detection).

    Conv1d(n_mels → channels, 3) → SELU → GRU(channels → hidden_size) → Linear(hidden_size → 1), with
    ``3·n_mels·channels + 769·channels + 593,153`` parameters at the default hidden size and layers: 673,873
    in all, as published. The published FLOPs (2,249,961 for one second, which leave out the GRU and the front
    end) settle the rest: they hold 7 operations per channel and frame, which is SELU's or Tanh's price, and
    one per frame after the logit. Of what costs one operation per element, ReLU would turn all non-speech
    into ties; so that operation is read as a maximum over time, the hangover of voice activity detectors.

    Without padding the convolution loses a frame at either end: logit i belongs to STFT frame i + 1, whose
    centre is ``first_frame_centre_s + i·hop_length / sample_rate`` seconds into the audio.

    Args:
        hangover_frames: a logit is the largest within this many frames to either side (0: its own alone).

    Shapes: audio (batch, samples) → logits (batch, frames - 2), frames = 1 + (samples - n_fft) // hop_length.

    Raises:
        SettingError: if the audio is shorter than three frames.
    """

    def __init__(
        self,
        n_mels: int = 80,
        channels: int = 80,
        hidden_size: int = 256,
        num_layers: int = 2,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop_length: int = 256,
        hangover_frames: int = 0,
    ) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.spectrogram = Spectrogram(n_fft, hop_length)
        self.mel = MelFilterBank(self.spectrogram.n_freqs, n_mels, sample_rate)
        self.log = LogCompression()
        self.scaling = FixedScaling()
        self.conv = nn.Conv1d(n_mels, channels, KERNEL_SIZE)
        self.activation = nn.SELU()
        self.gru = nn.GRU(channels, hidden_size, num_layers, batch_first=True)
        self.linear = nn.Linear(hidden_size, 1)
        self.hangover = nn.MaxPool1d(2 * hangover_frames + 1, stride=1, padding=hangover_frames)

    @property
    def min_samples(self) -> int:
        """The fewest samples that give a logit."""
        return self.n_fft + (KERNEL_SIZE - 1) * self.hop_length

    @property
    def first_frame_centre_s(self) -> float:
        """Centre of the first logit's frame, in seconds from the first sample."""
        return (self.n_fft / 2 + (KERNEL_SIZE - 1) / 2 * self.hop_length) / self.sample_rate

    def forward(self, audio: Tensor) -> Tensor:
        check_min_samples(audio, self.min_samples)
        log_mel = self.scaling(self.log(self.mel(self.spectrogram(audio))))
        x = self.activation(self.conv(log_mel))
        x, _ = self.gru(x.transpose(1, 2))
        logits = self.linear(x).transpose(1, 2)
        return self.hangover(logits).squeeze(1)
