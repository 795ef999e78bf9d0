"""VCTK 0.92: ``VCTK-Corpus-0.92/wav48_silence_trimmed/<speaker>/*_mic1.flac``."""

import os
from pathlib import Path

from dyn_lightning.data.audio import DatasetError, find_audio
from dyn_lightning.data.corpora.clips import Clip, Splits, split_by_group

FOLDER = Path("VCTK-Corpus-0.92/wav48_silence_trimmed")


def vctk(folder: str | os.PathLike[str]) -> Splits:
    """Splits VCTK 0.92 by speaker, 80 % train, 10 % val, 10 % test, by a hash; the first microphone only.

    Args:
        folder: the folder named ``wav48_silence_trimmed``.

    Raises:
        DatasetError: no such folder, no audio in it, another layout, or too few speakers.
    """
    folder = Path(folder)
    clips = []
    for path in find_audio(folder):
        parts = path.relative_to(folder).parts
        if len(parts) == 2 and path.stem.endswith("_mic1"):
            clips.append(Clip(path, path.stem.removesuffix("_mic1"), parts[0]))
    if not clips:
        raise DatasetError(f"{folder}: no <speaker>/*_mic1.flac. Restore the official VCTK 0.92 layout.")
    return split_by_group(clips, 0.1, 0.1, folder)
