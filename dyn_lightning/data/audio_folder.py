"""Pieces of whatever audio lies in a folder, without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from dyn_lightning.checks import positive, whole
from dyn_lightning.data.audio import AUDIO_SUFFIXES, DatasetError, list_audio, read_audio
from dyn_lightning.data.crops import crop, random_crop


class AudioFolder(Dataset[dict[str, torch.Tensor]]):
    """One piece of each file below a folder, at random, each time that it is asked for: ``{"audio": (samples,)}``.

    Args:
        folder: searched with all folders in it.
        sample_rate: in Hz; files of other rates are resampled.
        crop_s: length of a piece in seconds; shorter files are repeated.
        seed: of the places of pieces; None: drawn from torch's generator.

    Raises:
        DatasetError: if there is no audio in the folder.
        SettingError: for a rate or length that is not positive.
    """

    def __init__(self, folder: str | Path, sample_rate: int, crop_s: float = 1.0, seed: int | None = None) -> None:
        whole(1, sample_rate=sample_rate)
        positive(crop_s=crop_s)
        self.files = list_audio(Path(folder))
        if not self.files:
            raise DatasetError(f"{folder}: holds no audio ({' '.join(AUDIO_SUFFIXES)}). Check the folder.")
        self.sample_rate, self.n_samples = sample_rate, max(1, round(crop_s * sample_rate))
        self.seed = seed

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        seed = int(torch.randint(2**31, ())) if self.seed is None else self.seed + index
        samples = read_audio(self.files[index], self.sample_rate)
        if not len(samples):
            raise DatasetError(f"{self.files[index]}: holds no samples. Remove it.")
        cut = random_crop(samples, self.n_samples, np.random.default_rng(seed))
        return {"audio": torch.from_numpy(crop(cut, self.n_samples, 0)).float()}
