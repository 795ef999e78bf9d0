"""Recordings with speech segments marked by people, as AMI has them: audio, RTTM and UEM files."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from dyn_lightning.data.audio import AUDIO_SUFFIXES, DatasetError, read_audio
from dyn_lightning.data.mixing import FRAME_LENGTH, HOP, n_frames

IGNORED = -100.0  # target of frames that are not scored

Segments = list[tuple[float, float]]  # (start_s, end_s)


def read_rttm(path: str | os.PathLike[str]) -> dict[str, Segments]:
    """Speech segments by recording; the speakers' segments may overlap.

    Raises:
        DatasetError: a line is no RTTM record.
    """
    return _read_segments(Path(path), "SPEAKER <file> <channel> <start> <duration> …", (1, 3, 4), duration=True)


def read_uem(path: str | os.PathLike[str]) -> dict[str, Segments]:
    """The parts that are annotated, and so scored, by recording.

    Raises:
        DatasetError: a line is no UEM record.
    """
    return _read_segments(Path(path), "<file> <channel> <start> <end>", (0, 2, 3), duration=False)


def _read_segments(path: Path, record: str, columns: tuple[int, int, int], duration: bool) -> dict[str, Segments]:
    segments: dict[str, Segments] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split()
        if not fields or line.startswith(";;"):
            continue
        try:
            name, start, end = fields[columns[0]], float(fields[columns[1]]), float(fields[columns[2]])
        except (IndexError, ValueError) as error:
            raise DatasetError(f"{path}, line {number}: is not '{record}'. Restore the official file.") from error
        segments.setdefault(name, []).append((start, start + end if duration else end))
    return segments


def frames_in_segments(segments: Segments, count: int, sample_rate: int) -> NDArray[np.bool_]:
    """Frames whose centre lies in a segment, (count,); the end of a segment does not belong to it."""
    centre_s = (np.arange(count) * HOP + FRAME_LENGTH / 2) / sample_rate
    inside = np.zeros(count, dtype=bool)
    for start_s, end_s in segments:
        inside |= (centre_s >= start_s) & (centre_s < end_s)
    return inside


class AnnotatedRecordings(Dataset[dict[str, Any]]):
    """Whole recordings with frame labels: 1 speech, 0 none, -100 outside the UEM, where nothing is annotated.

    Takes all recordings named in any ``*.uem`` of the folder, with the segments of the RTTM file of the same
    name. An item is a dict of ``audio`` (samples,), ``length``, ``target`` (frames,), ``utterance_id`` and
    ``meta``, whose ``snr_db`` is NaN: nobody knows it.

    Args:
        folder: holds the audio (.flac or .wav), ``*.rttm`` and ``*.uem``.
        sample_rate: in Hz.

    Raises:
        DatasetError: no UEM file, an RTTM file or a recording is missing, or a malformed line.
    """

    def __init__(self, folder: str | os.PathLike[str], sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.recordings: list[tuple[Path, Segments, Segments]] = []
        folder = Path(folder)
        tables = sorted(folder.glob("*.uem"))
        if not tables:
            raise DatasetError(f"{folder}: no .uem file in it. Add the annotations, or remove the folder.")
        for table in tables:
            if not table.with_suffix(".rttm").is_file():
                raise DatasetError(f"{table.with_suffix('.rttm')}: no such file. Add it, or remove {table.name}.")
            speech = read_rttm(table.with_suffix(".rttm"))
            for name, scored in sorted(read_uem(table).items()):
                paths = [folder / (name + suffix) for suffix in AUDIO_SUFFIXES]
                path = next((path for path in paths if path.is_file()), None)
                if path is None:
                    raise DatasetError(f"{paths[0]}: is named in {table.name} but absent. Add it.")
                self.recordings.append((path, speech.get(name, []), scored))

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path, speech, scored = self.recordings[index]
        audio = read_audio(path, self.sample_rate)
        count = n_frames(len(audio))
        target = frames_in_segments(speech, count, self.sample_rate).astype(np.float32)
        target[~frames_in_segments(scored, count, self.sample_rate)] = IGNORED
        return {
            "audio": torch.from_numpy(audio),
            "length": len(audio),
            "target": torch.from_numpy(target),
            "utterance_id": path.stem,
            "meta": {"snr_db": float("nan")},
        }
