"""Finding the files of public corpora in their official layouts, and splitting them.

Below one data root, side by side: ``LibriSpeech/<subset>/<speaker>/<chapter>/*.flac``,
``VCTK-Corpus-0.92/wav48_silence_trimmed/<speaker>/*_mic1.flac``, and ``ESC-50/{audio,meta}`` (or
``ESC-50-master``, the folder in the official archive). Files may be FLAC or WAV.
"""

import csv
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dyn_lightning.data.audio import DatasetError, find_audio
from dyn_lightning.data.text_files import read_lines

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Speech = Literal["auto", "librispeech", "vctk"]

VCTK_FOLDER = Path("VCTK-Corpus-0.92/wav48_silence_trimmed")
ESC50_FOLDERS = ("ESC-50", "ESC-50-master")
_ESC50_FOLDS: dict[str, Split] = {"1": "train", "2": "train", "3": "train", "4": "val", "5": "test"}


@dataclass(frozen=True)
class Clip:
    """An audio file: its path, a short identifier and its group (speaker, or class of noise)."""

    path: Path
    clip_id: str
    group: str


Splits = dict[Split, list[Clip]]


def find_speech(data_root: str | os.PathLike[str], speech: Speech = "auto") -> Splits:
    """Finds a speech corpus below ``data_root``; "auto" takes LibriSpeech where present, or else VCTK.

    Raises:
        DatasetError: the corpus is absent or laid out otherwise, see :func:`librispeech` and :func:`vctk`.
    """
    root = Path(data_root)
    if not root.is_dir():
        raise DatasetError(
            f"{root}: no such folder. Set data_root, or DATA_ROOT in the environment, to the folder of the corpora."
        )
    if speech == "auto":
        if (root / "LibriSpeech").is_dir():
            speech = "librispeech"
        elif (root / VCTK_FOLDER.parts[0]).is_dir():
            speech = "vctk"
        else:
            raise DatasetError(
                f"{root}: neither LibriSpeech nor {VCTK_FOLDER.parts[0]} in it. Download one of them into it."
            )
    if speech == "librispeech":
        return librispeech(root / "LibriSpeech")
    if speech == "vctk":
        return vctk(root / VCTK_FOLDER)
    raise DatasetError(f"speech={speech!r} is unknown. Use 'auto', 'librispeech' or 'vctk'.")


def librispeech(folder: str | os.PathLike[str]) -> Splits:
    """Splits LibriSpeech by speaker: ``train-*`` trains, ``dev-*`` validates, ``test-*`` tests.

    Where no ``dev-*`` subset is present a share of the training speakers validates instead (20 %, or 10 %
    where ``test-*`` is missing too); where no ``test-*`` subset is present 10 % of the training speakers
    test. Which speakers these are is decided by a hash of their identifiers, so it is the same on every
    machine.

    Args:
        folder: the folder named ``LibriSpeech``.

    Raises:
        DatasetError: no such folder, no audio in it, another layout, no ``train-*`` subset, too few speakers,
            or a speaker in two splits.
    """
    folder = Path(folder)
    pools: Splits = {"train": [], "val": [], "test": []}
    prefixes: dict[str, Split] = {"train": "train", "dev": "val", "test": "test"}
    for path in find_audio(folder):
        parts = path.relative_to(folder).parts
        prefix = parts[0].split("-")[0]
        if len(parts) != 4 or prefix not in prefixes:
            raise DatasetError(
                f"{path}: is not at <subset>/<speaker>/<chapter>/<file> with a subset named train-*, "
                "dev-* or test-*. Restore the official LibriSpeech layout."
            )
        pools[prefixes[prefix]].append(Clip(path, path.stem, parts[1]))
    if not pools["train"]:
        raise DatasetError(f"{folder}: no train-* subset. Download one, e.g. train-clean-100.")
    val_share = 0.0 if pools["val"] else 0.2 if pools["test"] else 0.1
    test_share = 0.0 if pools["test"] else 0.1
    held_out = split_by_group(pools["train"], val_share, test_share, folder)
    splits: Splits = {
        "train": held_out["train"],
        "val": pools["val"] + held_out["val"],
        "test": pools["test"] + held_out["test"],
    }
    require_disjoint(splits, folder)
    return splits


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


def split_by_group(clips: Sequence[Clip], val_share: float, test_share: float, source: Path) -> Splits:
    """Splits clips so that no group is in two splits; groups are ranked by the MD5 hash of their names.

    A share above 0 gets at least one group.

    Raises:
        DatasetError: too few groups to leave one for training.
    """
    groups = sorted({clip.group for clip in clips}, key=lambda name: hashlib.md5(name.encode()).hexdigest())
    n_val = max(round(val_share * len(groups)), val_share > 0)
    n_test = max(round(test_share * len(groups)), test_share > 0)
    if n_val + n_test >= len(groups):
        raise DatasetError(
            f"{source}: {len(groups)} speakers are too few for disjoint splits; at least "
            f"{n_val + n_test + 1} are needed. Add speakers."
        )
    of_group: dict[str, Split] = dict.fromkeys(groups, "train")
    of_group.update(dict.fromkeys(groups[:n_val], "val"))
    of_group.update(dict.fromkeys(groups[n_val : n_val + n_test], "test"))
    splits: Splits = {"train": [], "val": [], "test": []}
    for clip in clips:
        splits[of_group[clip.group]].append(clip)
    return splits


def require_disjoint(splits: Splits, source: Path) -> None:
    """Raises a DatasetError that names the groups found in more than one split."""
    seen: dict[str, Split] = {}
    for split in SPLITS:
        for name in {clip.group for clip in splits[split]}:
            if seen.setdefault(name, split) != split:
                raise DatasetError(
                    f"{source}: speaker {name} is in both {seen[name]} and {split}. Remove one of the two subsets."
                )


def find_noise(data_root: str | os.PathLike[str]) -> Splits:
    """Finds ESC-50 below ``data_root``, as :func:`esc50` splits it.

    Raises:
        DatasetError: there is no ``ESC-50`` or ``ESC-50-master`` folder, or :func:`esc50` raises.
    """
    for name in ESC50_FOLDERS:
        if (Path(data_root) / name).is_dir():
            return esc50(Path(data_root) / name)
    raise DatasetError(f"{data_root}: no ESC-50 folder in it. Download ESC-50 into it.")


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
        if row["fold"] not in _ESC50_FOLDS:
            raise DatasetError(
                f"{table}, line {reader.line_num}: fold {row['fold']!r} is not 1 to 5. Restore the official table."
            )
        stem = Path(row["filename"]).stem
        if stem not in present:
            raise DatasetError(
                f"{folder / 'audio' / row['filename']}: is named in {table.name} but absent or empty. Download ESC-50 "
                "again."
            )
        splits[_ESC50_FOLDS[row["fold"]]].append(Clip(present[stem], stem, row["category"]))
    for split in SPLITS:
        if not splits[split]:
            raise DatasetError(f"{table}: no clip for {split}. Restore the official table with all five folds.")
    return splits
