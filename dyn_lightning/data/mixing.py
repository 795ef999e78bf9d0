"""Mixing speech with noise, and labelling its frames: pure functions on NumPy arrays.

Labels are for the :class:`~dyn_lightning.features.frames.Frames` of the network. How loud a clip is, and where it may
be cut, is found in frames of 1024 samples every 256, whatever network there is.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dyn_lightning.features.frames import Frames

Samples = NDArray[np.float32]
Mask = NDArray[np.bool_]

FRAMES = Frames(n_fft=1024, hop_length=256)
FRAME_LENGTH, HOP = FRAMES.n_fft, FRAMES.hop_length
SILENCE_DBFS = -120.0  # level reported for digital silence
MIN_SPEECH_DBFS = -70.0  # quieter frames are never speech, however quiet the utterance
_FADE = 128  # samples, 8 ms at 16 kHz: no click where speech is cut
_MIN_PIECE = 3200  # samples, 0.2 s: about a syllable
_SNAP_HOPS = 8  # how far, in hops, a cut may move to a quieter place
_LOUD_DB = 15.0  # frames this close to the reference level are loud

_RAMP: Samples = np.sin(np.linspace(0.0, np.pi / 2, _FADE, dtype=np.float32)) ** 2


def hop_energies(samples: Samples, hop: int = HOP) -> NDArray[np.float32]:
    """Sum of squares of each whole hop, (samples // hop,)."""
    blocks = samples[: len(samples) // hop * hop].reshape(-1, hop)
    energies: NDArray[np.float32] = np.einsum("ij,ij->i", blocks, blocks)
    return energies


def frame_energies(samples: Samples, frames: Frames) -> NDArray[np.float32]:
    """Sum of squares of each frame, (frames,)."""
    count, per_frame = frames.count(len(samples)), frames.n_fft // frames.hop_length
    if frames.n_fft % frames.hop_length == 0:
        energies = hop_energies(samples, frames.hop_length)
        together: NDArray[np.float32] = sum(energies[i : i + count] for i in range(per_frame))  # type: ignore[assignment]
        return together
    sums = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    starts = np.arange(count) * frames.hop_length
    return np.maximum(sums[starts + frames.n_fft] - sums[starts], 0.0).astype(np.float32)


def frame_levels_dbfs(samples: Samples, frames: Frames = FRAMES) -> NDArray[np.float32]:
    """RMS level of each frame in dB relative to an amplitude of 1, (frames,); -120 dB at least."""
    power = frame_energies(samples, frames) / np.float32(frames.n_fft)
    levels: NDArray[np.float32] = 10.0 * np.log10(np.maximum(power, 10.0 ** (SILENCE_DBFS / 10)))
    # Some processors' logarithm of the floor lies below it.
    return np.maximum(levels, SILENCE_DBFS).astype(np.float32, copy=False)


def reference_level_dbfs(levels_dbfs: NDArray[np.float32]) -> float:
    """The level that stands for an utterance's loudness: the 95th percentile of its frame levels."""
    return float(np.percentile(levels_dbfs, 95.0))


def speech_frames(clean: Samples, reference_dbfs: float, threshold_db: float, frames: Frames = FRAMES) -> Mask:
    """Frames of clean speech that count as speech, (samples,) → (frames,).

    Those whose RMS level is above ``reference_dbfs + threshold_db``, and above -70 dBFS in any case. The
    reference is that of the whole utterance, so that a label does not depend on where an excerpt was cut.

    Args:
        clean: (samples,) speech without noise.
        reference_dbfs: loudness of the utterance, see :func:`reference_level_dbfs`.
        threshold_db: relative to it, below 0.
        frames: those to be labelled.
    """
    mask: Mask = frame_levels_dbfs(clean, frames) > max(reference_dbfs + threshold_db, MIN_SPEECH_DBFS)
    return mask


def covered_samples(mask: Mask, n_samples: int, frames: Frames = FRAMES) -> Mask:
    """Samples that lie in at least one frame of the mask, (frames,) → (n_samples,)."""
    steps = np.zeros(n_samples + 1, dtype=np.int32)
    starts = np.flatnonzero(mask) * frames.hop_length
    np.add.at(steps, starts, 1)
    np.add.at(steps, np.minimum(starts + frames.n_fft, n_samples), -1)
    covered: Mask = np.cumsum(steps[:-1]) > 0
    return covered


def noise_gain(speech: Samples, noise: Samples, active: Mask, snr_db: float, frames: Frames = FRAMES) -> float:
    """The factor for ``noise`` that gives a signal-to-noise ratio of ``snr_db``.

    The ratio is that of the mean power of speech over its active frames (so that pauses do not count, as in
    ITU-T P.56) to the mean power of the noise over the whole excerpt (so that a noise that happens to pause
    while somebody speaks is not blown up).

    Args:
        speech: (samples,) clean.
        noise: (samples,).
        active: (frames,) speech frames, see :func:`speech_frames`.
        snr_db: in dB.
        frames: those that ``active`` tells of.

    Raises:
        ValueError: no active frame, or speech or noise without energy.
    """
    hop = frames.hop_length
    covered = covered_samples(active, len(speech), frames)
    if frames.n_fft % hop == 0:
        whole_hops = covered[::hop][: len(speech) // hop]
        speech_energy, n_covered = float(hop_energies(speech, hop) @ whole_hops), int(whole_hops.sum()) * hop
    else:
        speech_energy, n_covered = float(np.square(speech[covered]).sum()), int(covered.sum())
    noise_power = float(noise @ noise) / len(noise)
    if n_covered == 0 or speech_energy <= 0.0:
        raise ValueError("speech has no active frame, so the ratio is undefined. Use speech with energy.")
    if noise_power <= 0.0:
        raise ValueError("noise is silent, so the ratio is undefined. Use noise with energy.")
    return float(np.sqrt(speech_energy / n_covered / noise_power / 10.0 ** (snr_db / 10)))


@dataclass(frozen=True)
class ClipStats:
    """What is kept of a clip beside its samples.

    Attributes:
        n_samples: its length.
        reference_dbfs: its loudness, see :func:`reference_level_dbfs`.
        loud_frames: numbers of the frames within 15 dB of the loudness; there is at least one.
    """

    n_samples: int
    reference_dbfs: float
    loud_frames: NDArray[np.int64]


def clip_stats(samples: Samples) -> ClipStats:
    """Statistics of a clip; one shorter than a frame counts as padded with zeros."""
    levels = frame_levels_dbfs(np.pad(samples, (0, max(0, FRAME_LENGTH - len(samples)))))
    # Not above the loudest frame: in a clip that is silent but for a click the percentile is silence.
    reference = max(reference_level_dbfs(levels), float(levels.max()) - _LOUD_DB)
    loud = np.flatnonzero(levels >= reference - _LOUD_DB)
    return ClipStats(len(samples), reference, loud)


def draw_excerpt(stats: ClipStats, length: int, rng: np.random.Generator) -> int:
    """Start of a random excerpt that holds a loud frame whole, as far as ``length`` allows."""
    anchor = int(stats.loud_frames[rng.integers(len(stats.loud_frames))]) * HOP
    earliest = max(0, anchor + FRAME_LENGTH - length)
    latest = max(0, min(anchor, stats.n_samples - length))
    return int(rng.integers(min(earliest, latest), latest + 1))


def quiet_cut(energies: NDArray[np.float32], position: int) -> int:
    """The quietest hop boundary within 128 ms (at 16 kHz) of a position: mostly between two words."""
    hop = position // HOP
    first = max(1, hop - _SNAP_HOPS)
    window = energies[first - 1 : hop + _SNAP_HOPS + 1]
    if len(window) < 2:
        return position
    return (first + int(np.argmin(window[:-1] + window[1:]))) * HOP


def place_with_gaps(speech: Samples, length: int, n_pieces: int, rng: np.random.Generator) -> Samples:
    """Spreads speech over a longer silence: cut at quiet places, with gaps around and between the pieces.

    The gaps share the silence at random (uniformly over all ways to share it). Pieces that do not begin or
    end with the whole fade in or out within 8 ms.

    Args:
        speech: (samples,), at most ``length``.
        length: samples of the result.
        n_pieces: number of pieces wanted; fewer where one would be shorter than 0.2 s (at 16 kHz).
        rng: source of randomness.

    Returns:
        (length,), which is the speech with zeros in the gaps.
    """
    energies = hop_energies(speech)
    wanted = rng.integers(0, len(speech), size=n_pieces - 1)
    cuts = [0]
    for cut in sorted(quiet_cut(energies, int(position)) for position in wanted):
        if cut - cuts[-1] >= _MIN_PIECE and len(speech) - cut >= _MIN_PIECE:
            cuts.append(cut)
    cuts.append(len(speech))
    gaps = np.floor(rng.dirichlet(np.ones(len(cuts))) * (length - len(speech))).astype(int)
    placed: Samples = np.zeros(length, dtype=np.float32)
    position = 0
    for i, (begin, end) in enumerate(itertools.pairwise(cuts)):
        position += int(gaps[i])
        piece = placed[position : position + end - begin]
        piece[:] = speech[begin:end]
        fade = min(_FADE, len(piece))
        if position > 0:
            piece[:fade] *= _RAMP[:fade]
        if position + len(piece) < length:
            piece[len(piece) - fade :] *= _RAMP[:fade][::-1]
        position += end - begin
    return placed


def limited_gain(samples: Samples, gain_db: float, peak: float = 0.99) -> float:
    """The factor of ``gain_db``, lowered where it would lift a sample above ``peak``."""
    highest = float(max(samples.max(), -samples.min()))
    factor = float(10.0 ** (gain_db / 20))
    return min(factor, peak / highest) if highest > 0.0 else factor
