"""Voice activity detection: speech in noise, mixed as it is asked for, with a label for each frame."""

from pathlib import Path
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, Dataset

from dyn_lightning.checks import at_least, positive, whole
from dyn_lightning.data import mixing
from dyn_lightning.data.audio import MAX_DURATION_S, RATES_HZ
from dyn_lightning.data.clip_store import ClipStore
from dyn_lightning.data.corpora import SPLITS, Split, find_noise, find_recordings, find_speech, has_recordings
from dyn_lightning.data.mixtures import Item, MixtureOptions, Mixtures
from dyn_lightning.data.recordings import AnnotatedRecordings
from dyn_lightning.data.sampling import EpochSampler, epoch_sampler, make_loader
from dyn_lightning.errors import SettingError
from dyn_lightning.features.frames import Frames

Batch = dict[str, Any]


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
    with ``snr_db`` (batch,), which is NaN for AMI. Frames are those of the network's front end, see :meth:`follow`.

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
        speech: "librispeech", "vctk", or "auto": LibriSpeech where present, or else VCTK. Of your own: the path of a
            function, data root → split → clips, such as ``my_package.my_corpus`` (see
            :mod:`dyn_lightning.data.corpora`).
        noise: "esc50", or the path of such a function.
        recordings: the second test set: "ami", where present, or the path of a function, data root → recordings; None
            for none.
        sample_rate: in Hz; files at other rates are resampled when read, which is slow: convert VCTK (48 kHz)
            once.
        seed: decides validation and test items.
        train_seed: decides training items; None is 0, and on the command line ``seed_everything``.
        num_workers: loader processes.
        cache_mib: memory for decoded audio in MiB, for each split and in each worker, half of it for noise.

    Raises:
        DatasetError: in ``setup``: a corpus is missing or incomplete.
        AudioError: while loading: a file that cannot be used.
        SettingError: a range upside down, a duration shorter than a frame or above an hour, or another sample rate than
            the network's.
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
        speech: str = "auto",
        noise: str = "esc50",
        recordings: str | None = "ami",
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
            if seconds > MAX_DURATION_S:
                raise SettingError(
                    f"{name}={seconds:g} must be at most {MAX_DURATION_S:g} s: an item is held in memory"
                )
        if not RATES_HZ[0] <= sample_rate <= RATES_HZ[1]:
            raise SettingError(f"sample_rate={sample_rate} must lie within {RATES_HZ[0]} and {RATES_HZ[1]} Hz.")
        self.data_root = Path(data_root)
        self.batch_size, self.num_workers, self.cache_mib = batch_size, num_workers, cache_mib
        self.n_items: dict[Split, int] = {"train": items_per_epoch, "val": val_items, "test": test_items}
        self.duration_s: dict[Split, float] = {
            "train": duration_s,
            "val": eval_duration_s,
            "test": eval_duration_s,
        }
        self.sample_rate, self.seed, self.train_seed = sample_rate, seed, train_seed or 0
        self.speech, self.noise, self.recorded = speech, noise, recordings
        self.mixtures: dict[Split, Mixtures] = {}
        self.recordings: AnnotatedRecordings | None = None
        self.frames = mixing.FRAMES
        self._check_durations()
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
        """Names of the test sets, as the test loaders: "mixed", and that of the recordings ("ami") where present."""
        recorded = self.recorded is not None and has_recordings(self.data_root, self.recorded)
        return ["mixed", str(self.recorded).rpartition(".")[2]] if recorded else ["mixed"]

    def follow(self, network: Any) -> None:
        """Label the frames of this network, as its attributes ``n_fft`` and ``hop_length`` tell them.

        In ``setup`` that is done for the network that the trainer trains or tests; a network without them leaves all as
        it is, 1024 samples every 256.

        Raises:
            SettingError: the network is for another sample rate, or its frames are longer than an item.
        """
        rate = getattr(network, "sample_rate", self.sample_rate)
        if rate != self.sample_rate:
            raise SettingError(
                f"the network takes audio of {rate} Hz, the data are of {self.sample_rate} Hz: give one sample_rate to "
                "both (data.init_args.sample_rate)"
            )
        self.frames = Frames.of(network) or self.frames
        self._check_durations()
        for dataset in (*self.mixtures.values(), self.recordings):
            if dataset is not None:
                dataset.frames = self.frames

    def _check_durations(self) -> None:
        names: dict[Split, str] = {"train": "duration_s", "val": "eval_duration_s"}
        for split, name in names.items():
            if not self.frames.count(int(self.duration_s[split] * self.sample_rate)):
                seconds = self.duration_s[split]
                raise SettingError(f"{name}={seconds} is shorter than a frame of {self.frames.n_fft} samples.")

    def setup(self, stage: str | None = None) -> None:
        """Finds the corpora; reads no audio yet."""
        if self.trainer is not None and self.trainer.lightning_module is not None:
            module = self.trainer.lightning_module
            self.follow(getattr(module, "network", module))
        if self.mixtures:
            return
        speech, noise = find_speech(self.data_root, self.speech), find_noise(self.data_root, self.noise)
        for number, split in enumerate(SPLITS):
            seed = self.train_seed if split == "train" else self.seed
            self.mixtures[split] = Mixtures(
                ClipStore(speech[split], "speech", self.sample_rate, self.cache_mib / 2),
                ClipStore(noise[split], "noise", self.sample_rate, self.cache_mib / 2),
                self.n_items[split],
                int(self.duration_s[split] * self.sample_rate),
                (seed, number),
                self.options,
                self.frames,
            )
        if self.recorded is not None and len(self.test_names) > 1:
            found = find_recordings(self.data_root, self.recorded)
            self.recordings = AnnotatedRecordings(found, self.sample_rate, self.frames)

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
