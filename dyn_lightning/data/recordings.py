"""Recordings with speech segments marked by people, as AMI has them: audio with RTTM and UEM, or LAB files."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from dyn_lightning.data.annotations import Segments
from dyn_lightning.data.audio import read_audio
from dyn_lightning.data.corpora.ami import Recording, ami
from dyn_lightning.data.mixing import FRAMES
from dyn_lightning.features.frames import Frames

IGNORED = -100.0  # target of frames that are not scored


def frames_in_segments(segments: Segments, count: int, sample_rate: int, frames: Frames = FRAMES) -> NDArray[np.bool_]:
    """Frames whose centre lies in a segment, (count,); the end of a segment does not belong to it."""
    centre_s = (np.arange(count) * frames.hop_length + frames.n_fft / 2) / sample_rate
    inside = np.zeros(count, dtype=bool)
    for start_s, end_s in segments:
        inside |= (centre_s >= start_s) & (centre_s < end_s)
    return inside


class AnnotatedRecordings(Dataset[dict[str, Any]]):
    """Whole recordings with frame labels: 1 speech, 0 none, -100 where nothing is scored.

    An item is a dict of ``audio`` (samples,), ``length``, ``target`` (frames,), ``utterance_id`` and ``meta``, whose
    ``snr_db`` is NaN: nobody knows it.

    Args:
        recordings: these, or the folder in which :func:`~dyn_lightning.data.corpora.ami.ami` finds them.
        sample_rate: in Hz.
        frames: those to be labelled.

    Raises:
        DatasetError: as :func:`~dyn_lightning.data.corpora.ami.ami`.
    """

    def __init__(
        self, recordings: Sequence[Recording] | str | os.PathLike[str], sample_rate: int, frames: Frames = FRAMES
    ) -> None:
        self.sample_rate, self.frames = sample_rate, frames
        if isinstance(recordings, (str, os.PathLike)):
            recordings = ami(recordings)
        self.recordings: list[Recording] = list(recordings)

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, index: int) -> dict[str, object]:
        recording = self.recordings[index]
        audio = read_audio(recording.path, self.sample_rate)
        count = self.frames.count(len(audio))

        def inside(segments: Segments) -> NDArray[np.bool_]:
            return frames_in_segments(segments, count, self.sample_rate, self.frames)

        target = inside(recording.speech).astype(np.float32)
        target[~inside(recording.scored) | inside(recording.unscored)] = IGNORED
        return {
            "audio": torch.from_numpy(audio),
            "length": len(audio),
            "target": torch.from_numpy(target),
            "utterance_id": recording.name,
            "meta": {"snr_db": float("nan")},
        }
