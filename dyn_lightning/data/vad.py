"""Voice activity detection: speech in noise, mixed as it is asked for, with a label for each frame."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from dyn_lightning.checks import ascending, at_least, positive, whole
from dyn_lightning.data import mixing
from dyn_lightning.data.clip_store import ClipStore
from dyn_lightning.data.corpora import SPLITS, Speech, Split, find_noise, find_speech
from dyn_lightning.data.recordings import AnnotatedRecordings
from dyn_lightning.data.sampling import EpochSampler, epoch_sampler, make_loader
from dyn_lightning.errors import SettingError

Item = dict[str, Any]
Batch = dict[str, Any]

AMI_FOLDER = "AMI"


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
    ones with at least a one, ``utterance_id`` and ``meta`` with ``snr_db``. Frames are those of an STFT with
    1024 samples every 256, without padding.

    Args:
        speech: clean speech.
        noise: noise; clips that are too short are repeated.
        n_items: items per epoch.
        n_samples: length of an item.
        seed: what seeds the generators, together with epoch and index.
        options: how to mix.
    """

    def __init__(
        self,
        speech: ClipStore,
        noise: ClipStore,
        n_items: int,
        n_samples: int,
        seed: tuple[int, ...],
        options: MixtureOptions,
    ) -> None:
        self.speech, self.noise, self.n_items, self.n_samples = speech, noise, n_items, n_samples
        self.seed, self.options = seed, options
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
        active = mixing.speech_frames(clean, reference_dbfs, options.label_threshold_db)
        audio = clean + np.float32(mixing.noise_gain(clean, noise, active, snr_db)) * noise
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
        length = min(max(int(share * self.n_samples), mixing.FRAME_LENGTH), stats.n_samples)
        excerpt = self.speech.excerpt(number, mixing.draw_excerpt(stats, length, rng), length)
        n_pieces = int(rng.integers(1, self.pieces_max + 1))
        clean = mixing.place_with_gaps(excerpt, self.n_samples, n_pieces, rng)
        return self.speech.clips[number].clip_id, clean, stats.reference_dbfs

    def _draw_noise(self, rng: np.random.Generator) -> tuple[str, mixing.Samples]:
        number = int(rng.integers(len(self.noise)))
        start = mixing.draw_excerpt(self.noise.stats(number), self.n_samples, rng)
        return self.noise.clips[number].clip_id, self.noise.excerpt(number, start, self.n_samples)


def collate(items: list[Item]) -> Batch:
    """Stacks items of equal length to ``audio`` (batch, samples), ``target`` (batch, frames) and so on."""
    return {
        "audio": torch.stack([item["audio"] for item in items]),
        "length": torch.tensor([item["length"] for item in items]),
        "target": torch.stack([item["target"] for item in items]),
        "utterance_id": [item["utterance_id"] for item in items],
        "meta": {"snr_db": torch.tensor([item["meta"]["snr_db"] for item in items], dtype=torch.float32)},
    }


class VADDataModule(lightning.LightningDataModule):
    """Speech (LibriSpeech or VCTK) in noise (ESC-50), and AMI meetings as a second test set where present.

    Speakers and noise recordings are disjoint between the splits, see :mod:`dyn_lightning.data.corpora`.
    Training items are new in each epoch and the same again for the same ``train_seed``, whatever the number
    of workers; validation and test items depend on ``seed`` alone, so that all runs are measured on the same.

    A batch is a dict of ``audio`` (batch, samples) float32, ``length`` (batch,) in samples, ``target``
    (batch, frames) float32 (1 speech, 0 none, -100 not to be scored), ``utterance_id`` (a list) and ``meta``
    with ``snr_db`` (batch,), which is NaN for AMI.

    Args:
        data_root: folder that holds the corpora side by side.
        batch_size: items per batch; AMI recordings come one by one.
        items_per_epoch: training items in an epoch.
        duration_s: length of a training item.
        eval_duration_s: length of a validation or test item.
        val_items: validation items.
        test_items: test items.
        snr_db_min, snr_db_max: range of the signal-to-noise ratio, see :class:`MixtureOptions`, also for the
            next:
        gain_db_min, gain_db_max: range of the gain.
        label_threshold_db: which frames are speech.
        speech_share_min, speech_share_max: how much of an item is speech.
        speech: "librispeech", "vctk", or "auto": LibriSpeech where present, or else VCTK.
        sample_rate: in Hz; files at other rates are resampled when read, which is slow: convert VCTK (48 kHz)
            once.
        seed: decides validation and test items.
        train_seed: decides training items; None is 0, and on the command line ``seed_everything``.
        num_workers: loader processes.
        cache_mib: memory for decoded audio in MiB, for each split and in each worker, half of it for noise.

    Raises:
        DatasetError: in ``setup``: a corpus is missing or incomplete.
        AudioError: while loading: a file that cannot be used.
        ValueError: a range upside down, or a duration shorter than a frame.
    """

    def __init__(
        self,
        data_root: str,
        batch_size: int = 32,
        items_per_epoch: int = 3200,
        duration_s: float = 2.0,
        eval_duration_s: float = 4.0,
        val_items: int = 256,
        test_items: int = 500,
        snr_db_min: float = -5.0,
        snr_db_max: float = 30.0,
        gain_db_min: float = -15.0,
        gain_db_max: float = 5.0,
        label_threshold_db: float = -30.0,
        speech_share_min: float = 0.15,
        speech_share_max: float = 0.9,
        speech: Speech = "auto",
        sample_rate: int = 16000,
        seed: int = 0,
        train_seed: int | None = None,
        num_workers: int = 0,
        cache_mib: float = 1024.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        whole(1, batch_size=batch_size, items_per_epoch=items_per_epoch, val_items=val_items, test_items=test_items)
        whole(1, sample_rate=sample_rate)
        whole(0, num_workers=num_workers, seed=seed, train_seed=train_seed)
        positive(duration_s=duration_s, eval_duration_s=eval_duration_s)
        at_least(0.0, cache_mib=cache_mib)
        for name, seconds in (("duration_s", duration_s), ("eval_duration_s", eval_duration_s)):
            if mixing.n_frames(int(seconds * sample_rate)) < 1:
                raise SettingError(f"{name}={seconds} is shorter than a frame of {mixing.FRAME_LENGTH} samples.")
        self.data_root = Path(data_root)
        self.batch_size, self.num_workers, self.cache_mib = batch_size, num_workers, cache_mib
        self.n_items: dict[Split, int] = {"train": items_per_epoch, "val": val_items, "test": test_items}
        self.duration_s: dict[Split, float] = {
            "train": duration_s,
            "val": eval_duration_s,
            "test": eval_duration_s,
        }
        self.sample_rate, self.speech, self.seed, self.train_seed = sample_rate, speech, seed, train_seed or 0
        self.mixtures: dict[Split, Mixtures] = {}
        self.recordings: AnnotatedRecordings | None = None
        self.options = MixtureOptions(
            snr_db_min,
            snr_db_max,
            gain_db_min,
            gain_db_max,
            label_threshold_db,
            speech_share_min,
            speech_share_max,
        )

    @property
    def test_names(self) -> list[str]:
        """Names of the test sets, in the order of the test loaders: "mixed", and "ami" where present."""
        return ["mixed", "ami"] if (self.data_root / AMI_FOLDER).is_dir() else ["mixed"]

    def setup(self, stage: str | None = None) -> None:
        """Finds the corpora; reads no audio yet."""
        if self.mixtures:
            return
        speech, noise = find_speech(self.data_root, self.speech), find_noise(self.data_root)
        for number, split in enumerate(SPLITS):
            seed = self.train_seed if split == "train" else self.seed
            self.mixtures[split] = Mixtures(
                ClipStore(speech[split], "speech", self.sample_rate, self.cache_mib / 2),
                ClipStore(noise[split], "noise", self.sample_rate, self.cache_mib / 2),
                self.n_items[split],
                int(self.duration_s[split] * self.sample_rate),
                (seed, number),
                self.options,
            )
        if "ami" in self.test_names:
            self.recordings = AnnotatedRecordings(self.data_root / AMI_FOLDER, self.sample_rate)

    def _loader(self, dataset: Dataset[Item], batch_size: int, sampler: EpochSampler | None = None) -> DataLoader[Item]:
        workers, seed = self.num_workers, self.train_seed
        return make_loader(dataset, batch_size, collate, num_workers=workers, seed=seed, sampler=sampler)

    def train_dataloader(self) -> DataLoader[Item]:
        """Training mixtures, new in each epoch and in a new order."""
        dataset = self.mixtures["train"]
        return self._loader(dataset, self.batch_size, epoch_sampler(dataset, self.train_seed, self.trainer))

    def val_dataloader(self) -> DataLoader[Item]:
        """Validation mixtures, always the same."""
        return self._loader(self.mixtures["val"], self.batch_size)

    def test_dataloader(self) -> list[DataLoader[Item]]:
        """One loader for each of :attr:`test_names`."""
        loaders = [self._loader(self.mixtures["test"], self.batch_size)]
        if self.recordings is not None:
            loaders.append(self._loader(self.recordings, 1))
        return loaders
