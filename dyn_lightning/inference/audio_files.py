"""Which audio files are meant, and what is written of each called."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dyn_lightning.data.audio import AUDIO_SUFFIXES, AudioWarning, DatasetError, list_audio


def printable(name: str | os.PathLike[str]) -> str:
    r"""A name as text that can be printed and written: bytes of a file name that are no UTF-8 become ``\xe9``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def count(number: int, what: str) -> str:
    """ "1 file", "2 files"."""
    return f"{number} {what}" + ("" if number == 1 else "s")


@contextmanager
def audio_doubts() -> Iterator[list[str]]:
    """Gathers what is to be said of audio files that can be used all the same; other warnings go their way."""
    found = list[str]()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AudioWarning)
        yield found
    for warning in caught:
        if issubclass(warning.category, AudioWarning):
            found.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


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
