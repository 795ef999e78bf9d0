"""AMI, and what else is laid out so: recordings with RTTM and UEM, or LAB files, in one folder."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from dyn_lightning.data.annotations import UNSCORED, Segments, read_lab, read_rttm, read_uem
from dyn_lightning.data.audio import AUDIO_SUFFIXES, AudioWarning, DatasetError, is_clutter

FOLDER = Path("AMI")


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


def ami(folder: str | os.PathLike[str]) -> list[Recording]:
    """All recordings named in any ``*.uem`` of the folder, with the segments of the RTTM file of the same name.

    What the UEM leaves out, and regions that the RTTM calls NOSCORE, are not scored. A recording with a LAB file of its
    own name, and in no UEM, is scored as a whole.

    Raises:
        DatasetError: no annotation, an RTTM file or a recording is missing, a recording has two annotations, or a
            malformed line.
    """
    return _Listing(Path(folder)).recordings


class _Listing:
    """The recordings of a folder, one annotation after the other."""

    def __init__(self, folder: Path) -> None:
        self.recordings: list[Recording] = []
        self._folder = folder
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder. Check the path.")
        files = [p for p in sorted(folder.iterdir()) if p.is_file() and not is_clutter(Path(p.name))]
        self._audio = _audio_by_name(files)
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


def _audio_by_name(files: list[Path]) -> dict[str, Path]:
    """Name without suffix → audio file, of several formats the most wanted."""
    formats = {suffix: rank for rank, suffix in enumerate(reversed(AUDIO_SUFFIXES))}
    audio = sorted((p for p in files if p.suffix.lower() in formats), key=lambda p: formats[p.suffix.lower()])
    return {path.stem: path for path in audio}
