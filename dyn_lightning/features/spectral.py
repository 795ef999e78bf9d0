"""The log-mel front end in four small modules: STFT power, mel filter bank, logarithm, fixed scaling."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from dyn_lightning.errors import SettingError

# Mean and standard deviation of ln(mel power + 1e-6) over clean read speech (LibriSpeech, 16 kHz, full scale
# 1.0, n_fft 1024, 80 bands): -3.5 and 3.9 over train-clean-100, -3.8 and 4.1 over test-other.
LOG_MEL_MEAN = -4.0
LOG_MEL_STD = 4.0


class Spectrogram(nn.Module):
    """Short-time Fourier magnitudes, |STFT|^power, with a periodic Hann window of ``n_fft`` samples.

    Without centre padding frame i covers the samples [i·hop_length, i·hop_length + n_fft), which gives
    ``1 + (samples - n_fft) // hop_length`` frames; with ``center`` the audio is padded by reflection.

    Shapes: audio (batch, samples) → (batch, n_fft // 2 + 1, frames).

    Raises:
        SettingError: if the audio is too short for a single frame.
    """

    window: Tensor

    def __init__(self, n_fft: int = 1024, hop_length: int = 256, center: bool = False, power: float = 2.0) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.center = center
        self.power = power
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    @property
    def n_freqs(self) -> int:
        return self.n_fft // 2 + 1

    @property
    def min_samples(self) -> int:
        """The fewest samples that give a frame (reflection needs more samples than it pads)."""
        return self.n_fft // 2 + 1 if self.center else self.n_fft

    def forward(self, audio: Tensor) -> Tensor:
        check_min_samples(audio, self.min_samples)
        if audio.dtype in (torch.float16, torch.bfloat16):
            raise SettingError(
                f"audio in {str(audio.dtype).removeprefix('torch.')} is too coarse for a spectrum: use precision "
                "bf16-mixed instead of bf16-true or 16-true"
            )
        stft = torch.stft(
            audio,
            self.n_fft,
            self.hop_length,
            window=self.window,
            center=self.center,
            return_complex=True,
        )
        if self.power == 2.0:  # without complex numbers, which ONNX lacks
            real, imaginary = torch.view_as_real(stft).unbind(-1)
            return real.square() + imaginary.square()
        return stft.abs().pow(self.power)

    def extra_repr(self) -> str:
        return f"n_fft={self.n_fft}, hop_length={self.hop_length}, center={self.center}, power={self.power}"


class FilterBank(nn.Module):
    """Filters over the bins of a power spectrum, as one product with a matrix; not trainable.

    A subclass sets the buffer ``fb`` (n_freqs, filters).

    Shapes: power (batch, n_freqs, frames) → (batch, filters, frames).

    Raises:
        SettingError: if the range is empty or reaches past the Nyquist frequency.
    """

    fb: Tensor
    count_name: str

    def __init__(self, n_freqs: int, count: int, sample_rate: int, f_min: float, f_max: float | None) -> None:
        super().__init__()
        self.n_freqs = n_freqs
        setattr(self, self.count_name, count)
        self.sample_rate = sample_rate
        self.f_min = f_min
        self.f_max = sample_rate / 2 if f_max is None else f_max
        check_range(self.f_min, self.f_max, sample_rate)

    def forward(self, power: Tensor) -> Tensor:
        return torch.matmul(self.fb.T.to(power.dtype), power)

    def extra_repr(self) -> str:
        return (
            f"n_freqs={self.n_freqs}, {self.count_name}={getattr(self, self.count_name)}, "
            f"sample_rate={self.sample_rate}, f_min={self.f_min}, f_max={self.f_max}"
        )


class MelFilterBank(FilterBank):
    """Triangular filters spaced equally on the mel scale (HTK's, without area normalisation), not trainable.

    ``fb`` (n_freqs, n_mels) is a buffer, made by torchaudio's ``melscale_fbanks``; ``mel_min`` and
    ``mel_max`` are the ends of the range in mel.

    Shapes: power (batch, n_freqs, frames) → (batch, n_mels, frames).

    Raises:
        SettingError: as :class:`FilterBank`, or if a band holds no frequency bin.
    """

    count_name = "n_mels"
    n_mels: int

    def __init__(
        self,
        n_freqs: int = 513,
        n_mels: int = 80,
        sample_rate: int = 16000,
        f_min: float = 0.0,
        f_max: float | None = None,
    ) -> None:
        super().__init__(n_freqs, n_mels, sample_rate, f_min, f_max)
        self.mel_min = hz_to_mel(self.f_min)
        self.mel_max = hz_to_mel(self.f_max)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # empty bands are an error below
            fb = melscale_fbanks(n_freqs, self.f_min, self.f_max, n_mels, sample_rate)
        check_filters(fb, "n_mels")
        self.register_buffer("fb", fb)

    def resized(self, n_mels: int) -> MelFilterBank:
        """A bank of ``n_mels`` bands over the same range."""
        return MelFilterBank(self.n_freqs, n_mels, self.sample_rate, self.f_min, self.f_max)


class LogCompression(nn.Module):
    """ln(x + eps), elementwise. ``eps`` stands a little above the quantisation noise of 16-bit audio."""

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x + self.eps)

    def extra_repr(self) -> str:
        return f"eps={self.eps}"


class FixedScaling(nn.Module):
    """(x - mean) / std with constants, elementwise; the defaults bring log-mel speech to about N(0, 1)."""

    def __init__(self, mean: float = LOG_MEL_MEAN, std: float = LOG_MEL_STD) -> None:
        super().__init__()
        if std <= 0.0:
            raise SettingError(f"std must be positive, got {std}")
        self.mean = mean
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def extra_repr(self) -> str:
        return f"mean={self.mean}, std={self.std}"


def check_range(f_min: float, f_max: float, sample_rate: int) -> None:
    """Raise a SettingError if a range of frequencies in Hz is empty or reaches past the Nyquist frequency."""
    if not 0.0 <= f_min < f_max <= sample_rate / 2:
        raise SettingError(
            f"need 0 <= f_min < f_max <= sample_rate / 2, got f_min={f_min}, f_max={f_max}, sample_rate={sample_rate}"
        )


def check_filters(fb: Tensor, argument: str) -> None:
    """Raise a SettingError naming the argument to lower if a filter of (n_freqs, filters) holds no frequency bin."""
    empty = int((fb.amax(0) == 0).sum())
    if empty:
        raise SettingError(
            f"{empty} of {fb.shape[1]} bands hold none of the {fb.shape[0]} frequency bins: "
            f"choose fewer bands ({argument}) or a longer n_fft"
        )


def check_min_samples(audio: Tensor, min_samples: int) -> None:
    """Raise a SettingError that names the least number of samples if ``audio`` (…, samples) is shorter."""
    if not torch.compiler.is_exporting() and audio.size(-1) < min_samples:
        raise SettingError(f"audio is too short: {audio.size(-1)} samples, at least {min_samples} are needed (pad it)")


def hz_to_mel(frequency_hz: float) -> float:
    """HTK's mel scale: 2595·log10(1 + f / 700)."""
    return 2595.0 * math.log10(1.0 + frequency_hz / 700.0)
