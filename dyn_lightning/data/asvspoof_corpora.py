"""Layouts, columns and published sizes of the ASVspoof corpora, as their own README files state them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Part = Literal["train", "dev", "eval"]
PARTS: tuple[Part, ...] = ("train", "dev", "eval")
CorpusName = Literal["LA", "PA", "ASVspoof2021_LA", "ASVspoof2021_DF", "ASVspoof5"]


@dataclass(frozen=True)
class Counts:
    """Published number of utterances of a part; where systems are named, each has an equal share of the spoofs."""

    bona_fide: int
    spoof: int
    systems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corpus:
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

    @property
    def n_columns(self) -> int:
        """Columns that a line has at least."""
        return 1 + max(self.speaker, self.utterance, self.system or 0, self.key, self.subset or 0)


def _corpus_2019(access: Literal["LA", "PA"], counts: Mapping[Part, Counts]) -> Corpus:
    prefix, dotted = f"ASVspoof2019_{access}", f"ASVspoof2019.{access}"
    scored: tuple[Part, ...] = ("dev", "eval")
    return Corpus(
        title=f"ASVspoof2019 {access}",
        roots=("", access, f"{access}/{access}"),
        protocol_folders=(f"{prefix}_cm_protocols",),
        protocols={
            "train": f"{dotted}.cm.train.trn.txt",
            "dev": f"{dotted}.cm.dev.trl.txt",
            "eval": f"{dotted}.cm.eval.trl.txt",
        },
        audio={part: f"{prefix}_{part}/flac" for part in PARTS},
        # SPEAKER UTTERANCE - SYSTEM KEY; PA has the environment in place of the "-".
        speaker=0,
        utterance=1,
        system=3,
        key=4,
        asv_scores={part: f"{prefix}_asv_scores/{dotted}.asv.{part}.gi.trl.scores.txt" for part in scored},
        enrolments={part: f"{prefix}_asv_protocols/{dotted}.asv.{part}.*.trn.txt" for part in scored},
        counts=counts,
    )


def _corpus_2021(track: Literal["LA", "DF"], counts: Counts) -> Corpus:
    return Corpus(
        title=f"ASVspoof2021 {track}",
        roots=("", track, "ASVspoof2021"),
        protocol_folders=(f"keys/{track}/CM", f"{track}-keys-full/keys/{track}/CM"),
        protocols={"eval": "trial_metadata.txt"},
        audio={"eval": f"ASVspoof2021_{track}_eval/flac"},
        # SPEAKER UTTERANCE CODEC TRANSMISSION|SOURCE SYSTEM KEY TRIM SUBSET …
        speaker=0,
        utterance=1,
        system=4,
        key=5,
        subset=7,
        counts={"eval": counts},
    )


_LA_TRAINING = tuple(f"A{number:02d}" for number in range(1, 7))
_LA_UNSEEN = tuple(f"A{number:02d}" for number in range(7, 20))
_PA_ATTACKS = tuple(distance + quality for distance in "ABC" for quality in "ABC")

CORPORA: Mapping[CorpusName, Corpus] = {
    "LA": _corpus_2019(
        "LA",
        {
            "train": Counts(2580, 6 * 3800, _LA_TRAINING),
            "dev": Counts(2548, 6 * 3716, _LA_TRAINING),
            "eval": Counts(7355, 13 * 4914, _LA_UNSEEN),
        },
    ),
    "PA": _corpus_2019(
        "PA",
        {
            "train": Counts(5400, 9 * 5400, _PA_ATTACKS),
            "dev": Counts(5400, 9 * 2700, _PA_ATTACKS),
            "eval": Counts(18090, 9 * 12960, _PA_ATTACKS),
        },
    ),
    "ASVspoof2021_LA": _corpus_2021("LA", Counts(14816, 133360)),
    "ASVspoof2021_DF": _corpus_2021("DF", Counts(14869, 519059)),
    "ASVspoof5": Corpus(
        title="ASVspoof 5",
        roots=("", "ASVspoof5"),
        protocol_folders=("ASVspoof5_protocols", ""),
        protocols={
            "train": "ASVspoof5.train.tsv",
            "dev": "ASVspoof5.dev.track_1.tsv",
            "eval": "ASVspoof5.eval.track_1.tsv",
        },
        audio={"train": "flac_T", "dev": "flac_D", "eval": "flac_E_eval"},
        # SPEAKER UTTERANCE GENDER CODEC CODEC_Q CODEC_SEED ATTACK_TAG ATTACK_LABEL KEY TMP
        speaker=0,
        utterance=1,
        system=7,
        key=8,
        enrolments={"dev": "**/ASVspoof5.dev*enroll.*", "eval": "**/ASVspoof5.eval*enroll.*"},
        counts={
            "train": Counts(18797, 163560),
            "dev": Counts(31334, 109616),
            "eval": Counts(138688, 542086),
        },
    ),
}

# SPEAKER UTTERANCE ROOM MICROPHONE DISTANCE ROOM MICROPHONE LOUDSPEAKER DISTANCE KEY TRIM SUBSET: known for its score
# files alone. Its attacks have no names.
ASVSPOOF2021_PA = Corpus(
    title="ASVspoof2021 PA",
    roots=(),
    protocol_folders=(),
    protocols={},
    audio={},
    speaker=0,
    utterance=1,
    system=None,
    key=9,
    counts={},
    subset=11,
)
