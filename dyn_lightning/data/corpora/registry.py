"""Corpora by name: those of the package, those that are entered, and a user's own by the path of what lists it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from dyn_lightning.checks import imported
from dyn_lightning.data.audio import DatasetError
from dyn_lightning.data.corpora import ami, asvspoof5, asvspoof2019, asvspoof2021, esc50, librispeech, vctk
from dyn_lightning.data.corpora.ami import Recording
from dyn_lightning.data.corpora.asvspoof import SpoofCorpus
from dyn_lightning.data.corpora.clips import SPLITS, Clip, Splits
from dyn_lightning.errors import SettingError

Listed = TypeVar("Listed")


@dataclass(frozen=True)
class Entry(Generic[Listed]):
    """A corpus in a list of its kind.

    Attributes:
        title: as people call it.
        folders: below the data root, where it may lie; the first that is there is taken. The data root itself: ``.``.
        listed: folder → its clips or recordings.
    """

    title: str
    folders: tuple[Path, ...]
    listed: Callable[[Path], Listed]

    def folder_in(self, data_root: Path) -> Path | None:
        """Where it is, if it is there."""
        return next((data_root / f for f in self.folders if (data_root / Path(*f.parts[:1])).is_dir()), None)


SPEECH: dict[str, Entry[Splits]] = {
    "librispeech": Entry("LibriSpeech", (librispeech.FOLDER,), librispeech.librispeech),
    "vctk": Entry("VCTK-Corpus-0.92", (vctk.FOLDER,), vctk.vctk),
}
"""Clean speech, by speaker; with "auto" the first of these that is there."""
NOISE: dict[str, Entry[Splits]] = {"esc50": Entry("ESC-50", esc50.FOLDERS, esc50.esc50)}
RECORDINGS: dict[str, Entry[list[Recording]]] = {"ami": Entry("AMI", (ami.FOLDER,), ami.ami)}
CORPORA: dict[str, SpoofCorpus] = {
    "LA": asvspoof2019.LA,
    "PA": asvspoof2019.PA,
    "ASVspoof2021_LA": asvspoof2021.LA,
    "ASVspoof2021_DF": asvspoof2021.DF,
    "ASVspoof5": asvspoof5.ASVSPOOF5,
}
"""Bona fide and spoofed speech."""


def find_speech(data_root: str | os.PathLike[str], speech: str = "auto") -> Splits:
    """Finds a corpus of speech below ``data_root``; "auto" takes the first of :data:`SPEECH` that is there.

    Args:
        data_root: the folder of the corpora.
        speech: a name of :data:`SPEECH`, "auto", or the path of a function of your own, data root → splits.

    Raises:
        DatasetError: the corpus is absent or laid out otherwise, as its own function says.
        SettingError: a name that is not known, or a function that cannot be used.
    """
    root = Path(data_root)
    if not root.is_dir():
        raise DatasetError(
            f"{root}: no such folder. Set data_root, or DATA_ROOT in the environment, to the folder of the corpora."
        )
    if speech == "auto":
        present = [name for name, entry in SPEECH.items() if entry.folder_in(root) is not None]
        if not present:
            titles = " nor ".join(entry.title for entry in SPEECH.values())
            raise DatasetError(f"{root}: neither {titles} in it. Download one of them into it.")
        speech = present[0]
    return _checked_splits(_listed(SPEECH, root, speech, "speech", ("auto",)), speech)


def find_noise(data_root: str | os.PathLike[str], noise: str = "esc50") -> Splits:
    """Finds a corpus of noise below ``data_root``: a name of :data:`NOISE`, or the path of a function of your own.

    Raises:
        DatasetError: it is not there, or as its own function says.
        SettingError: a name that is not known, or a function that cannot be used.
    """
    return _checked_splits(_listed(NOISE, Path(data_root), noise, "noise"), noise)


def find_recordings(data_root: str | os.PathLike[str], recordings: str = "ami") -> list[Recording]:
    """Finds annotated recordings below ``data_root``: a name of :data:`RECORDINGS`, or a function of your own.

    Raises:
        DatasetError: it is not there, or as its own function says.
        SettingError: a name that is not known, or a function that cannot be used.
    """
    found = _listed(RECORDINGS, Path(data_root), recordings, "recordings")
    if not (isinstance(found, list) and found and all(isinstance(one, Recording) for one in found)):
        raise SettingError(f"recordings={recordings}: its function has to give a list of Recording, one at least")
    return found


def has_recordings(data_root: str | os.PathLike[str], recordings: str) -> bool:
    """Whether there are such recordings; those of a function of the user's own always are."""
    entry = RECORDINGS.get(recordings)
    return entry is None or entry.folder_in(Path(data_root)) is not None


def spoof_corpus(name: str, option: str = "corpus") -> SpoofCorpus:
    """A corpus of :data:`CORPORA`, or of your own: the path of a :class:`SpoofCorpus`, or of a function.

    Such a function takes the data root and a part ("train", "dev" or "eval") and gives its utterances.

    Raises:
        SettingError: a name that is not known, or a path that leads to nothing of use.
    """
    if name in CORPORA:
        return CORPORA[name]
    found = _own(name, option, CORPORA)
    if isinstance(found, SpoofCorpus):
        return found
    return SpoofCorpus(name, (), (), {}, {}, 0, 0, None, 0, {}, list_part=found)


def register_corpus(known: dict[str, object], name: str, corpus: object) -> None:
    """Enter a corpus in one of the lists here, such as :data:`SPEECH`, under a name that a configuration may give.

    Raises:
        SettingError: for a name that another one has.
    """
    if known.setdefault(name, corpus) is not corpus:
        raise SettingError(f"there is a corpus {name} already: choose another name")


def _listed(
    known: Mapping[str, Entry[Listed]], data_root: Path, name: str, option: str, others: tuple[str, ...] = ()
) -> Listed:
    if (entry := known.get(name)) is not None:
        folder = entry.folder_in(data_root)
        if folder is None:
            raise DatasetError(f"{data_root}: no {entry.title} folder in it. Download {entry.title} into it.")
        return entry.listed(folder)
    found: Listed = _own(name, option, {**dict.fromkeys(others), **known})(data_root)
    return found


def _own(name: str, option: str, known: Mapping[str, object]) -> Any:
    """What a path leads to: a function, or a corpus as it stands."""
    if "." not in name:
        raise SettingError(
            f"{option}={name!r} is unknown. Use {', '.join(map(repr, known))}, or the path of a function of your own "
            "(my_package.my_corpus)"
        )
    found = imported(name, option)
    if not (callable(found) or isinstance(found, SpoofCorpus)):
        raise SettingError(f"{option}={name} is no function that lists a corpus")
    return found


def _checked_splits(splits: object, name: str) -> Splits:
    """Raises SettingError for what is not clips in three splits, none of them empty."""
    if not (isinstance(splits, Mapping) and set(splits) == set(SPLITS)):
        raise SettingError(f"{name}: its function has to give a dict of {', '.join(SPLITS)}")
    for split, clips in splits.items():
        if not clips or not all(isinstance(clip, Clip) for clip in clips):
            raise SettingError(f"{name}: its function has to give Clips in each split, one at least; see {split}")
    return dict(splits)
