"""Augmentation of raw audio: RawBoost's three kinds of noise, and speed perturbation.

RawBoost (Tak et al., ICASSP 2022, arXiv 2111.04433) stands for what telephony does to speech: encoding,
transmission, microphones and amplifiers. It needs no recorded noise. This is an implementation of our own after
the published description; the default ranges are its authors'.

All functions take and give (samples,) float32, write to no argument, and draw from the generator alone.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torchaudio.functional
from numpy.typing import NDArray

from dyn_lightning.data.audio import Samples
from dyn_lightning.errors import SettingError

RawBoostNoise = Literal["convolutive", "impulsive", "stationary"]

_N_NOTCHES = 5
_CENTRE_HZ = (20.0, 8000.0)
_BANDWIDTH_HZ = (100.0, 1000.0)
_N_TAPS = (10, 100)
_BLOCK = 1024  # transforms of a multiple of this length are fast


def convolutive_noise(
    samples: Samples,
    rng: np.random.Generator,
    sample_rate: int,
    order: int = 5,
    gain_db_min: float = -20.0,
    gain_db_max: float = -5.0,
) -> Samples:
    """Linear and non-linear convolutive noise: Σ_j g_j · (b_j ∗ x^j), j = 1 … order.

    Each power of the signal passes a filter of its own with five random notches, as through an amplifier that
    distorts. The linear part has a gain of 0 dB, the others one from the range. Filters are centred, so that
    nothing is delayed; the mean is taken out again, and the peak limited to 1.

    Args:
        samples: (samples,), within [-1, 1].
        rng: source of all draws.
        sample_rate: in Hz.
        order: highest power; 1 leaves the distortion out.
        gain_db_min, gain_db_max: range of the gain of the powers above 1.
    """
    filters = [notch_filter(rng, sample_rate) for _ in range(order)]
    gains_db = np.concatenate([[0.0], rng.uniform(gain_db_min, gain_db_max, order - 1)])
    scaled = [10.0 ** (gain_db / 20.0) * taps for gain_db, taps in zip(gains_db, filters, strict=True)]
    powers = np.multiply.accumulate(np.broadcast_to(samples, (order, len(samples))))
    noisy = _filtered(powers, scaled).sum(axis=0)
    return _limited(noisy - noisy.mean())


def impulsive_noise(samples: Samples, rng: np.random.Generator, share_max: float = 0.1, gain: float = 2.0) -> Samples:
    """Impulsive signal-dependent noise: x + g · d · x at randomly chosen samples.

    The share of the samples that are hit is drawn from [0, share_max]; d is the product of two numbers from
    [-1, 1], so that small disturbances are more likely. Digital silence stays silent. The peak is limited to 1.

    Args:
        samples: (samples,).
        rng: source of all draws.
        share_max: highest share of samples that are hit.
        gain: g.
    """
    n_hit = int(len(samples) * rng.uniform(0.0, share_max))
    places = rng.choice(len(samples), n_hit, replace=False)
    disturbance = rng.uniform(-1.0, 1.0, n_hit) * rng.uniform(-1.0, 1.0, n_hit)
    noisy = samples.copy()
    noisy[places] += gain * disturbance * noisy[places]
    return _limited(noisy)


def stationary_noise(
    samples: Samples,
    rng: np.random.Generator,
    sample_rate: int,
    snr_db_min: float = 10.0,
    snr_db_max: float = 40.0,
) -> Samples:
    """Stationary signal-independent noise: white noise through a random notch filter, added.

    The signal-to-noise ratio is that of the energies over all samples. The peak is limited to 1.

    Args:
        samples: (samples,).
        rng: source of all draws.
        sample_rate: in Hz.
        snr_db_min, snr_db_max: range of the signal-to-noise ratio.
    """
    noise = rng.standard_normal((1, len(samples)), dtype=np.float32)
    noise = _filtered(noise, [notch_filter(rng, sample_rate)])[0]
    snr_db = rng.uniform(snr_db_min, snr_db_max)
    return _limited(samples + 10.0 ** (-snr_db / 20.0) * np.linalg.norm(samples) / np.linalg.norm(noise) * noise)


def notch_filter(rng: np.random.Generator, sample_rate: int) -> NDArray[np.float64]:
    """A linear-phase filter with five random notches in series, (taps,), an odd number; its highest gain is 1.

    Centres are drawn from 20 Hz to 8 kHz (at most half the sample rate), widths from 100 Hz to 1 kHz, and 10 to
    100 coefficients each: a short filter makes a shallow notch.
    """
    taps, highest_hz = np.ones(1), min(_CENTRE_HZ[1], sample_rate / 2)
    for _ in range(_N_NOTCHES):
        centre_hz, width_hz = rng.uniform(_CENTRE_HZ[0], highest_hz), rng.uniform(*_BANDWIDTH_HZ)
        n_taps = int(rng.integers(_N_TAPS[0], _N_TAPS[1] + 1)) | 1
        edges_hz = np.clip([centre_hz - width_hz / 2, centre_hz + width_hz / 2], 0.0, sample_rate / 2)
        taps = np.convolve(taps, _band_stop(n_taps, *(edges_hz / sample_rate)))
    response = np.abs(np.fft.rfft(taps, max(_BLOCK, 2 * len(taps))))
    return taps / response.max()


def _band_stop(n_taps: int, low: float, high: float) -> NDArray[np.float64]:
    """Windowed-sinc band-stop filter; edges as shares of the sample rate."""
    n = np.arange(n_taps) - n_taps // 2
    band = 2 * high * np.sinc(2 * high * n) - 2 * low * np.sinc(2 * low * n)
    taps: NDArray[np.float64] = (n == 0) - band * np.hamming(n_taps)
    return taps


def _filtered(signals: NDArray[np.float32], filters: Sequence[NDArray[np.float64]]) -> NDArray[np.float32]:
    """Each signal through its own centred filter, (signals, samples) → the same."""
    n_samples = signals.shape[1]
    size = -(-(n_samples + max(len(taps) for taps in filters)) // _BLOCK) * _BLOCK
    kernels = np.zeros((len(filters), size), dtype=np.float32)
    for kernel, taps in zip(kernels, filters, strict=True):
        kernel[: len(taps)] = taps
        kernel[:] = np.roll(kernel, -(len(taps) // 2))  # centred on 0; the half before it wraps around to the end
    product = torch.fft.rfft(torch.from_numpy(signals), size) * torch.fft.rfft(torch.from_numpy(kernels))
    result: NDArray[np.float32] = torch.fft.irfft(product, size)[:, :n_samples].numpy()
    return result


def _limited(samples: NDArray[np.floating]) -> Samples:
    return (samples / max(1.0, float(np.abs(samples).max(initial=0.0)))).astype(np.float32)


def change_speed(samples: Samples, factor: float, sample_rate: int) -> Samples:
    """Plays ``factor`` times as fast, pitch included (Ko et al., Interspeech 2015); 1 changes nothing.

    Returns:
        (⌈samples / factor⌉,) up to rounding.
    """
    if factor == 1.0:
        return samples
    audio, _ = torchaudio.functional.speed(torch.from_numpy(samples)[None], sample_rate, factor)
    return audio[0].numpy()


@dataclass(frozen=True)
class Augmentation:
    """What is done to a training utterance before and after it is cropped.

    Attributes:
        sample_rate: in Hz.
        speed_factors: one of them is drawn for each item; none leaves the speed alone.
        rawboost: kinds of noise, applied in this order; none adds nothing. The paper did best with
            ("convolutive", "impulsive").

    Raises:
        SettingError: a factor outside [0.5, 2], or an unknown kind of noise.
    """

    sample_rate: int
    speed_factors: Sequence[float] = ()
    rawboost: Sequence[RawBoostNoise] = ()

    def __post_init__(self) -> None:
        wrong = [factor for factor in self.speed_factors if not 0.5 <= factor <= 2.0]
        if wrong:
            raise SettingError(
                f"speed_factors={list(self.speed_factors)}: {wrong[0]} is not within 0.5 to 2. Change it."
            )
        unknown = [kind for kind in self.rawboost if kind not in self._noises]
        if unknown:
            raise SettingError(f"rawboost: {unknown[0]!r} is unknown. Use any of {', '.join(self._noises)}.")

    @property
    def _noises(self) -> Mapping[str, Callable[[Samples, np.random.Generator], Samples]]:
        return {
            "convolutive": functools.partial(convolutive_noise, sample_rate=self.sample_rate),
            "impulsive": impulsive_noise,
            "stationary": functools.partial(stationary_noise, sample_rate=self.sample_rate),
        }

    def before_crop(self, samples: Samples, rng: np.random.Generator) -> Samples:
        """Changes the speed of a whole utterance."""
        if not self.speed_factors:
            return samples
        return change_speed(samples, float(rng.choice(self.speed_factors)), self.sample_rate)

    def after_crop(self, samples: Samples, rng: np.random.Generator) -> Samples:
        """Adds noise to a crop."""
        for kind in self.rawboost:
            samples = self._noises[kind](samples, rng)
        return samples
