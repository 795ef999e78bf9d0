"""Recordings with speech segments marked by people, as AMI has them: audio with RTTM and UEM, or LAB files."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from dyn_lightning.data.annotations import UNSCORED, Segments, read_lab, read_rttm, read_uem
from dyn_lightning.data.audio import AUDIO_SUFFIXES, AudioWarning, DatasetError, is_clutter, read_audio
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


@dataclass(frozen=True)
class Recording:
    """A recording's file, its speech, the parts that are scored, and regions in them that are not (start_s, end_s)."""

    path: Path
    speech: Segments
    scored: Segments
    unscored: Segments

    @property
    def name(self) -> str:
        """By which annotations call it."""
        return self.path.stem


class AnnotatedRecordings(Dataset[dict[str, Any]]):
    """Whole recordings with frame labels: 1 speech, 0 none, -100 where nothing is scored.

    Takes all recordings named in any ``*.uem`` of the folder, with the segments of the RTTM file of the same name; what
    the UEM leaves out, and regions that the RTTM calls NOSCORE, are not scored. A recording with a LAB file of its own
    name, and in no UEM, is scored as a whole. An item is a dict of ``audio`` (samples,), ``length``, ``target``
    (frames,), ``utterance_id`` and ``meta``, whose ``snr_db`` is NaN: nobody knows it.

    Args:
        folder: holds the audio, ``*.rttm`` and ``*.uem``, or ``*.lab``.
        sample_rate: in Hz.
        frames: those to be labelled.

    Raises:
        DatasetError: no annotation, an RTTM file or a recording is missing, a recording has two annotations, or a
            malformed line.
    """

    def __init__(self, folder: str | os.PathLike[str], sample_rate: int, frames: Frames = FRAMES) -> None:
        self.sample_rate, self.frames = sample_rate, frames
        self.recordings: list[Recording] = []
        self._folder = Path(folder)
        if not self._folder.is_dir():
            raise DatasetError(f"{folder}: no such folder. Check the path.")
        # Beginning with the least wanted format, which one that comes later replaces.
        formats = {suffix: rank for rank, suffix in enumerate(reversed(AUDIO_SUFFIXES))}
        files = [p for p in sorted(self._folder.iterdir()) if p.is_file() and not is_clutter(Path(p.name))]
        audio = sorted((p for p in files if p.suffix.lower() in formats), key=lambda p: formats[p.suffix.lower()])
        self._audio = {path.stem: path for path in audio}
        texts = {path.name.lower(): path for path in files}
        tables = [path for name, path in texts.items() if name.endswith(".uem")]
        labels = {path.stem: path for name, path in texts.items() if name.endswith(".lab")}
        if not tables and not labels:
            raise DatasetError(f"{folder}: no .uem and no .lab file in it. Add the annotations, or remove the folder.")
        for table in tables:
            self._add_table(table, texts.get(f"{table.stem}.rttm".lower()), labels)
        for name, path in labels.items():
            if name not in {recording.name for recording in self.recordings}:
                self._add(name, path, read_lab(path), [(0.0, float("inf"))], [])

    def _add_table(self, table: Path, rttm: Path | None, labels: dict[str, Path]) -> None:
        """The recordings of a UEM file."""
        scored = read_uem(table)
        speech = {} if rttm is None else read_rttm(rttm)
        unscored = {} if rttm is None else read_rttm(rttm, UNSCORED)
        if rttm is not None and speech and not speech.keys() & scored.keys():
            raise DatasetError(f"{rttm}: names none of the recordings of {table.name}. Put the two in agreement.")
        for name, parts in sorted(scored.items()):
            if rttm is None and name not in labels:
                raise DatasetError(f"{table.with_suffix('.rttm')}: no such file. Add it, or remove {table.name}.")
            found = speech.get(name, []) if rttm is not None else read_lab(labels[name])
            self._add(name, table, found, parts, unscored.get(name, []))
            if not found:
                warnings.warn(f"{rttm or labels[name]}: has no speech in {name}", AudioWarning, stacklevel=3)

    def _add(self, name: str, source: Path, speech: Segments, scored: Segments, unscored: Segments) -> None:
        if name not in self._audio:
            place = self._folder / (name + AUDIO_SUFFIXES[0])
            raise DatasetError(f"{place}: is named in {source.name} but absent. Add it.")
        if any(recording.name == name for recording in self.recordings):
            raise DatasetError(f"{source}: names {name}, as another UEM file does. Leave it in one of them.")
        self.recordings.append(Recording(self._audio[name], speech, scored, unscored))

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, index: int) -> dict[str, Any]:
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
