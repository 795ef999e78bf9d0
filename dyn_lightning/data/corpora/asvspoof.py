"""What a corpus of bona fide and spoofed speech is: where it keeps its files, and what a line of its protocols says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Part = Literal["train", "dev", "eval"]
PARTS: tuple[Part, ...] = ("train", "dev", "eval")
BONA_FIDE_SYSTEM = "-"


@dataclass(frozen=True, slots=True)
class Utterance:
    """A line of a protocol, and where its audio belongs; ``system`` is "-" for bona fide speech."""

    utterance_id: str
    speaker: str
    system: str
    target: int
    path: str


@dataclass(frozen=True)
class Counts:
    """Published number of utterances of a part; where systems are named, each has an equal share of the spoofs."""

    bona_fide: int
    spoof: int
    systems: tuple[str, ...] = ()


@dataclass(frozen=True)
class SpoofCorpus:
    """Where a corpus keeps its files, and which column of a protocol line says what.

    Attributes:
        title: name for messages.
        roots: folders below the data root where the corpus may lie, the first that fits is taken.
        protocol_folders: folders below the root that may hold the protocols.
        protocols: file name of each part's protocol.
        audio: folder of each part's FLAC files, below the root.
        speaker, utterance, system, key: columns, from 0 on; no system where the corpus does not name any.
        counts: published sizes by part.
        subset: column that reads "eval" in the lines that are scored; None where all are.
        asv_scores: scores of the organisers' speaker verification, below the root, by part.
        enrolments: patterns of the lists of files that only enrol speakers, below the root, by part: these files
            lie beside the others and have no line in the protocol.
        list_part: instead of all that, of a corpus of another layout: (data root, part) → its utterances.
    """

    title: str
    roots: tuple[str, ...]
    protocol_folders: tuple[str, ...]
    protocols: Mapping[Part, str]
    audio: Mapping[Part, str]
    speaker: int
    utterance: int
    system: int | None
    key: int
    counts: Mapping[Part, Counts]
    subset: int | None = None
    asv_scores: Mapping[Part, str] = field(default_factory=dict)
    enrolments: Mapping[Part, str] = field(default_factory=dict)
    list_part: Callable[[Path, Part], Sequence[Utterance]] | None = None

    @property
    def n_columns(self) -> int:
        """Columns that a line has at least."""
        return 1 + max(self.speaker, self.utterance, self.system or 0, self.key, self.subset or 0)
