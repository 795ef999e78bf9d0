"""ESC-50: ``ESC-50/{audio,meta}``, or ``ESC-50-master``, the folder in the official archive."""

import csv
import os
from pathlib import Path

from dyn_lightning.data.audio import DatasetError, find_audio
from dyn_lightning.data.corpora.clips import SPLITS, Clip, Split, Splits
from dyn_lightning.data.text_files import read_lines

FOLDERS = (Path("ESC-50"), Path("ESC-50-master"))
_FOLDS: dict[str, Split] = {"1": "train", "2": "train", "3": "train", "4": "val", "5": "test"}


def esc50(folder: str | os.PathLike[str]) -> Splits:
    """Splits ESC-50 by its folds: 1–3 train, 4 val, 5 test. Clips cut from one recording share a fold.

    A file named in the table may have another suffix, as .flac.

    Args:
        folder: holds ``audio/`` and ``meta/esc50.csv``.

    Raises:
        DatasetError: a missing table, column, audio folder or file, an unknown fold, or a split without
            clips.
    """
    folder = Path(folder)
    table = folder / "meta" / "esc50.csv"
    if not table.is_file():
        raise DatasetError(f"{table}: no such file. Download ESC-50 again, with its meta folder.")
    present = {path.stem: path for path in reversed(find_audio(folder / "audio"))}
    splits: Splits = {"train": [], "val": [], "test": []}
    reader = csv.DictReader(read_lines(table))
    missing = {"filename", "fold", "category"} - set(reader.fieldnames or ())
    if missing:
        raise DatasetError(f"{table}: column {sorted(missing)[0]!r} is missing. Restore the official table.")
    for row in reader:
        if row["fold"] not in _FOLDS:
            raise DatasetError(
                f"{table}, line {reader.line_num}: fold {row['fold']!r} is not 1 to 5. Restore the official table."
            )
        stem = Path(row["filename"]).stem
        if stem not in present:
            raise DatasetError(
                f"{folder / 'audio' / row['filename']}: is named in {table.name} but absent or empty. Download ESC-50 "
                "again."
            )
        splits[_FOLDS[row["fold"]]].append(Clip(present[stem], stem, row["category"]))
    for split in SPLITS:
        if not splits[split]:
            raise DatasetError(f"{table}: no clip for {split}. Restore the official table with all five folds.")
    return splits
