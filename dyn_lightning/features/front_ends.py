"""Whole front ends by name: audio (batch, samples) → features (batch, rows, frames), from the modules beside."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from torch import nn

from dyn_lightning.errors import SettingError
from dyn_lightning.features.cepstral import CosineTransform, Deltas, LinearFilterBank
from dyn_lightning.features.normalisation import RunningNorm, UtteranceNorm
from dyn_lightning.features.spectral import FixedScaling, LogCompression, MelFilterBank, Spectrogram

FrontEnd = Literal["log_mel", "lfcc", "log_stft"]
Normalisation = Literal["fixed", "utterance_mean", "utterance", "running"]


def make_front_end(
    kind: FrontEnd = "log_mel",
    *,
    sample_rate: int = 16000,
    n_fft: int = 1024,
    hop_length: int = 256,
    n_bands: int = 80,
) -> tuple[nn.Sequential, int]:
    """A front end and the rows of its output.

    - ``log_mel``: the logarithm of ``n_bands`` mel bands' power.
    - ``lfcc``: ``n_bands`` linear-frequency cepstral coefficients of as many filters, their deltas and double
      deltas: 3·n_bands rows. (20 in the baselines of ASVspoof.)
    - ``log_stft``: the logarithm of the power of all n_fft/2 + 1 bins; ``n_bands`` says nothing.

    Frames are 1 + (samples − n_fft) // hop_length.

    Raises:
        SettingError: for an unknown kind, or bands that hold no frequency bin.
    """
    spectrogram = Spectrogram(n_fft, hop_length)
    n_freqs = spectrogram.n_freqs
    layers: OrderedDict[str, nn.Module] = OrderedDict(spectrogram=spectrogram)
    if kind == "log_mel":
        layers.update(mel=MelFilterBank(n_freqs, n_bands, sample_rate), log=LogCompression())
        return nn.Sequential(layers), n_bands
    if kind == "lfcc":
        layers.update(filters=LinearFilterBank(n_freqs, n_bands, sample_rate), log=LogCompression())
        layers.update(dct=CosineTransform(n_bands, n_bands), deltas=Deltas())
        return nn.Sequential(layers), 3 * n_bands
    if kind == "log_stft":
        layers.update(log=LogCompression())
        return nn.Sequential(layers), n_freqs
    raise SettingError(f"front_end={kind!r} is unknown: use log_mel, lfcc or log_stft")


def make_normalisation(kind: Normalisation, n_rows: int) -> nn.Module:
    """What brings features (batch, n_rows, frames) to about zero mean and unit variance.

    - ``fixed``: by constants that fit log-mel bands of speech.
    - ``utterance_mean``, ``utterance``: by each utterance's own mean, or mean and variance, over time.
    - ``running``: by running statistics of the training data.

    Raises:
        SettingError: for an unknown kind.
    """
    if kind == "fixed":
        return FixedScaling()
    if kind in ("utterance_mean", "utterance"):
        return UtteranceNorm(variance=kind == "utterance")
    if kind == "running":
        return RunningNorm(n_rows)
    raise SettingError(f"normalisation={kind!r} is unknown: use fixed, utterance_mean, utterance or running")
