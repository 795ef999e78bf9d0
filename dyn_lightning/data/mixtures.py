"""Speech in noise with a label for each frame, mixed as it is asked for."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from dyn_lightning.checks import ascending
from dyn_lightning.data import mixing
from dyn_lightning.data.clip_store import ClipStore
from dyn_lightning.errors import SettingError
from dyn_lightning.features.frames import Frames

Item = dict[str, Any]


@dataclass(frozen=True)
class MixtureOptions:
    """How mixtures are drawn; every range is uniform.

    The paper (arXiv 2601.13704) leaves labels, ranges and mixing open, so these are choices of ours.

    Attributes:
        snr_db_min, snr_db_max: signal-to-noise ratio, as :func:`~dyn_lightning.data.mixing.noise_gain`
            defines it.
        gain_db_min, gain_db_max: gain of the mixture, which is lowered where a sample would exceed 0.99.
        label_threshold_db: a frame is speech if its clean level is at most this far below the utterance's
            loudness. Frame levels of read speech have two modes, speech at -5 dB and room noise at -40 dB;
            the valley between them is at -30 dB.
        speech_share_min, speech_share_max: share of a mixture that is taken up by an excerpt of speech; the
            rest is gaps, around it and within it. The default makes about half of all frames speech.
    """

    snr_db_min: float = -5.0
    snr_db_max: float = 30.0
    gain_db_min: float = -15.0
    gain_db_max: float = 5.0
    label_threshold_db: float = -30.0
    speech_share_min: float = 0.15
    speech_share_max: float = 0.9

    def __post_init__(self) -> None:
        for low, high in (
            ("snr_db_min", "snr_db_max"),
            ("gain_db_min", "gain_db_max"),
            ("speech_share_min", "speech_share_max"),
        ):
            if not getattr(self, low) <= getattr(self, high):
                raise SettingError(f"{low}={getattr(self, low)} exceeds {high}={getattr(self, high)}. Swap them.")
            ascending(**{low: getattr(self, low), high: getattr(self, high)})
        if not (self.speech_share_min > 0.0 and self.speech_share_max <= 1.0):
            raise SettingError("speech_share_min and speech_share_max must lie in (0, 1]. Change them.")
        # Excerpts are drawn so as to hold a frame within 15 dB of the loudness; cuts and fades
        # cost up to 5 dB.
        if not -math.inf < self.label_threshold_db <= -20.0:
            raise SettingError(f"label_threshold_db={self.label_threshold_db} must be -20 or less. Lower it.")


class Mixtures(Dataset[Item]):
    """Mixtures by key: item ``divmod(key, n_items)`` = (epoch, index), each with a generator of its own.

    An item is a dict of ``audio`` (samples,) float32, ``length``, ``target`` (frames,) float32 of zeros and
    ones with at least a one, ``utterance_id`` and ``meta`` with ``snr_db``.

    Args:
        speech: clean speech.
        noise: noise; clips that are too short are repeated.
        n_items: items per epoch.
        n_samples: length of an item.
        seed: what seeds the generators, together with epoch and index.
        options: how to mix.
        frames: those to be labelled.
    """

    def __init__(
        self,
        speech: ClipStore,
        noise: ClipStore,
        n_items: int,
        n_samples: int,
        seed: tuple[int, ...],
        options: MixtureOptions,
        frames: Frames = mixing.FRAMES,
    ) -> None:
        self.speech, self.noise, self.n_items, self.n_samples = speech, noise, n_items, n_samples
        self.seed, self.options, self.frames = seed, options, frames
        self.pieces_max = -(-n_samples // speech.sample_rate)

    def __len__(self) -> int:
        return self.n_items

    def __getitem__(self, key: int) -> Item:
        epoch, index = divmod(key, self.n_items)
        rng = np.random.default_rng((*self.seed, epoch, index))
        options = self.options
        snr_db = rng.uniform(options.snr_db_min, options.snr_db_max)
        gain_db = rng.uniform(options.gain_db_min, options.gain_db_max)
        speech_id, clean, reference_dbfs = self._draw_speech(rng)
        noise_id, noise = self._draw_noise(rng)
        active = mixing.speech_frames(clean, reference_dbfs, options.label_threshold_db, self.frames)
        audio = clean + np.float32(mixing.noise_gain(clean, noise, active, snr_db, self.frames)) * noise
        audio *= np.float32(mixing.limited_gain(audio, gain_db))
        return {
            "audio": torch.from_numpy(audio),
            "length": self.n_samples,
            "target": torch.from_numpy(active.astype(np.float32)),
            "utterance_id": f"{epoch}-{index:05d}-{speech_id}-{noise_id}",
            "meta": {"snr_db": snr_db},
        }

    def _draw_speech(self, rng: np.random.Generator) -> tuple[str, mixing.Samples, float]:
        number = int(rng.integers(len(self.speech)))
        stats = self.speech.stats(number)
        share = rng.uniform(self.options.speech_share_min, self.options.speech_share_max)
        length = min(max(int(share * self.n_samples), mixing.FRAME_LENGTH, self.frames.n_fft), stats.n_samples)
        excerpt = self.speech.excerpt(number, mixing.draw_excerpt(stats, length, rng), length)
        n_pieces = int(rng.integers(1, self.pieces_max + 1))
        clean = mixing.place_with_gaps(excerpt, self.n_samples, n_pieces, rng)
        return self.speech.clips[number].clip_id, clean, stats.reference_dbfs

    def _draw_noise(self, rng: np.random.Generator) -> tuple[str, mixing.Samples]:
        number = int(rng.integers(len(self.noise)))
        start = mixing.draw_excerpt(self.noise.stats(number), self.n_samples, rng)
        return self.noise.clips[number].clip_id, self.noise.excerpt(number, start, self.n_samples)
