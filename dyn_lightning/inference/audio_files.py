"""Which audio files are meant, and what is written of each called."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from dyn_lightning.data.audio import AUDIO_SUFFIXES, DatasetError, list_audio


def name_files(inputs: Sequence[str | os.PathLike[str]]) -> dict[Path, Path]:
    """Each file and the name, below the output folder and without suffix, of what is written of it."""
    names: dict[Path, Path] = {}
    owners: dict[Path, Path] = {Path("segments"): Path("segments.csv")}
    for path, name in find_audio_files(inputs):
        if path in names:
            continue
        if name in owners:
            raise DatasetError(f"{path} and {owners[name]} would both be written as {name}: rename one of them")
        names[path], owners[name] = name, path
    if not names:
        raise DatasetError("there is no audio file to predict: give files, or folders that hold some")
    return names


def find_audio_files(inputs: Sequence[str | os.PathLike[str]]) -> Iterator[tuple[Path, Path]]:
    """Each audio file with its path below the folder it was found in, without suffix; a file given is taken as it is.

    Raises:
        DatasetError: for a folder without audio.
    """
    for given in map(Path, inputs):
        if not given.is_dir():
            yield given, Path(given.stem)
            continue
        files = list_audio(given)
        if not files:
            raise DatasetError(f"{given}: holds no audio ({' '.join(AUDIO_SUFFIXES)}). Check the folder.")
        yield from ((p, p.relative_to(given).with_suffix("")) for p in files)
