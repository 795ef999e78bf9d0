"""Score files of spoofing countermeasures as the ASVspoof challenge has them: ``UTTERANCE SYSTEM KEY SCORE`` a line."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from dyn_lightning.data.asvspoof_protocols import problem, read_protocol_lines, utterance_of
from dyn_lightning.data.audio import AUDIO_SUFFIXES, DatasetError
from dyn_lightning.data.corpora import CORPORA, Utterance, asvspoof2021
from dyn_lightning.data.corpora.asvspoof import BONA_FIDE_SYSTEM
from dyn_lightning.data.text_files import read_lines
from dyn_lightning.errors import UserError
from dyn_lightning.files import write_atomically

UNKNOWN = "-"
KEYS = ("bonafide", "spoof", UNKNOWN)
_VERIFICATION = frozenset(("target", "nontarget"))  # keys of another kind of protocol
_SCORE_TITLES = ("score", "scores", "cmscore", "cmscores")
_LOG_MARK = "Output,"


@dataclass(frozen=True)
class ScoreTable:
    """Scores of utterances, one entry each.

    Attributes:
        utterance_ids: names without white space.
        systems: what made them; "-" for bona fide speech, and where it is unknown.
        keys: "bonafide", "spoof", or "-" where it is unknown.
        scores: (utterances,) float64, higher means bona fide.
        speakers: where a protocol names them.
    """

    utterance_ids: Sequence[str]
    systems: Sequence[str]
    keys: Sequence[str]
    scores: Tensor
    speakers: Sequence[str] | None = None

    @property
    def targets(self) -> Tensor:
        """(utterances,) int8: 1 bona fide, 0 spoof, -1 unknown."""
        codes = {"bonafide": 1, "spoof": 0, UNKNOWN: -1}
        return torch.tensor([codes[key] for key in self.keys], dtype=torch.int8)


@dataclass(frozen=True)
class Protocol:
    """Utterances by name, and the names of those that the protocol lists but does not score (2021: other subsets)."""

    utterances: Mapping[str, Utterance]
    unscored: frozenset[str]


def write_scores(path: str | os.PathLike[str], table: ScoreTable) -> None:
    """Write ``UTTERANCE SYSTEM KEY SCORE`` lines; scores are float32, with as many digits as give them back exactly.

    The file is there as a whole or not at all.

    Raises:
        UserError: for a name with white space, or a score that is not a finite number.
    """
    columns = zip(table.utterance_ids, table.systems, table.keys, table.scores.float().numpy(), strict=True)
    lines = []
    for name, system, key, score in columns:
        if len(name.split()) != 1 or len(system.split()) != 1:
            raise UserError(f"{name!r}, {system!r}: a score file has no place for white space in names. Rename it.")
        if not np.isfinite(score):
            raise UserError(f"{name}: its score is {score}. Check the audio and the network.")
        lines.append(f"{name} {system} {key} {score!s}\n")
    write_atomically(Path(path), "".join(lines).encode())


def read_scores(path: str | os.PathLike[str], protocol: str | os.PathLike[str] | None = None) -> ScoreTable:
    """Read a score file and, where given, join it with a protocol, which then says what each utterance is.

    Args:
        path: lines ``UTTERANCE SYSTEM KEY SCORE`` or, with a protocol, also ``UTTERANCE SCORE``; see
            :func:`_columns` for the variants that other tools write.
        protocol: of ASVspoof 2019, 2021 or 5; it must name the same utterances. Scores of those that it lists but does
            not score are left out.

    Returns:
        A table in the file's order.

    Raises:
        DatasetError: a file is missing or empty; lines are malformed, repeated, hold no finite score or contradict the
            protocol; utterances are in one of the files alone. All problems are told at once.
    """
    path = _existing(path, "the score file")
    rows, problems = _read_rows(path, lone_scores=protocol is not None)
    if not rows and not problems:
        problems.append(f"{path}: holds no scores. Check the file.")
    known: Mapping[str, Utterance] | None = None
    if protocol is not None:
        content = read_protocol(protocol)
        known, rows = content.utterances, [row for row in rows if row[0] not in content.unscored]
        problems += _mismatches(path, Path(protocol), rows, known)
    if problems:
        raise DatasetError("\n".join(problems))
    scores = torch.tensor([score for *_, score in rows], dtype=torch.float64)
    names = [name for name, *_ in rows]
    if known is None:
        return ScoreTable(names, [system for _, system, _, _ in rows], [key for _, _, key, _ in rows], scores)
    return label(names, scores, known)


def label(names: Sequence[str], scores: Tensor, known: Mapping[str, Utterance]) -> ScoreTable:
    """Scores of utterances with what a protocol says of each; all of them must be in it."""
    chosen = [known[name] for name in names]
    keys = ["bonafide" if utterance.target else "spoof" for utterance in chosen]
    return ScoreTable(names, [u.system for u in chosen], keys, scores, [u.speaker for u in chosen])


def read_protocol(path: str | os.PathLike[str]) -> Protocol:
    """Read a protocol of ASVspoof 2019, 2021 or 5; the column of the key says which it is.

    Raises:
        DatasetError: the file is missing, or its lines are of none of these protocols.
    """
    path = _existing(path, "the protocol")
    rows = [line.split() for line in read_lines(path) if line.strip()]
    first = rows[0] if rows else []
    if any(not _VERIFICATION.isdisjoint(row[2:]) for row in rows):
        raise DatasetError(
            f"{path}: is a protocol of the speaker verification (asv): it has targets and nontargets. Give that of the "
            "countermeasure (cm)."
        )
    # those with more columns first: the system of bona fide speech may be called as its key
    corpora = sorted((*CORPORA.values(), asvspoof2021.PA), key=lambda corpus: -corpus.n_columns)
    corpus = next((c for c in corpora if len(first) >= c.n_columns and first[c.key] in KEYS[:2]), None)
    if corpus is None:
        raise DatasetError(
            f"{path}: its first line, {' '.join(first)!r}, is of no protocol of ASVspoof 2019, 2021 or 5. Give the "
            "protocol of the countermeasure (cm)."
        )
    lines, problems = read_protocol_lines(path, corpus)
    if problems:
        raise DatasetError("\n".join(problems))
    scored, unscored = dict[str, Utterance](), set[str]()
    for line in lines:
        utterance = utterance_of(line, corpus, path.parent)
        if corpus.subset is None or line[corpus.subset] == "eval":
            scored[utterance.utterance_id] = utterance
        else:
            unscored.add(utterance.utterance_id)
    return Protocol(scored, frozenset(unscored))


_Row = tuple[str, str, str, float]


def _read_rows(path: Path, lone_scores: bool) -> tuple[list[_Row], list[str]]:
    """The sound lines as (utterance, system, key, score), and the problems of the others."""
    malformed, unnumbered, rows = list[str](), list[str](), list[_Row]()
    lines = read_lines(path)
    is_log = any(line.startswith(_LOG_MARK) for line in lines)
    for number, text in enumerate(lines, start=1):
        columns = _columns(text, is_log)
        if not columns or (not rows and not malformed and _is_header(columns)):
            continue
        if len(columns) == 2 and lone_scores:
            columns = [columns[0], UNKNOWN, UNKNOWN, columns[1]]
        if len(columns) != 4 or columns[2] not in KEYS:
            malformed.append(f"line {number}")
            continue
        score = _number(columns[3])
        if not math.isfinite(score):
            unnumbered.append(f"line {number} ({columns[3]})")
            continue
        system = BONA_FIDE_SYSTEM if columns[2] == "bonafide" else columns[1]
        rows.append((columns[0], system, columns[2], score))
    repeated = [name for name, count in Counter(name for name, *_ in rows).items() if count > 1]
    form = "'UTTERANCE SYSTEM bonafide|spoof|- SCORE'" + (" or 'UTTERANCE SCORE'" if lone_scores else "")
    mend = "" if lone_scores else " For lines 'UTTERANCE SCORE' give the protocol."
    kinds = [
        (f"lines that are not {form}", malformed, f"Mend them.{mend}"),
        ("lines whose score is not a finite number", unnumbered, "Score these utterances again."),
        ("utterances scored more than once", repeated, "Keep one line for each."),
    ]
    return rows, [problem(path, what, items, mend) for what, items, mend in kinds if items]


def _columns(text: str, is_log: bool) -> list[str]:
    """Columns of a line, between blanks or tabs, or else commas or semicolons; names of files lose folder and suffix.

    In a log of NII's tools ``Output, UTTERANCE, 1|0, SCORE`` lines alone count, with 1 for bona fide speech.
    """
    if is_log and not text.startswith(_LOG_MARK):
        return []
    columns = text.split()
    if len(columns) == 1 or any(column.endswith((",", ";")) for column in columns[:-1]):
        columns = [column for column in re.split(r"[\s,;]+", text) if column]
    if is_log and len(columns) == 4:
        columns = [columns[1], UNKNOWN, {"1": "bonafide", "0": "spoof"}.get(columns[2], columns[2]), columns[3]]
    if columns and columns[0].lower().endswith(AUDIO_SUFFIXES):
        columns[0] = PurePosixPath(columns[0]).stem
    return columns


def _is_header(columns: Sequence[str]) -> bool:
    """Whether a line says what the columns are, as the tables of ASVspoof 5 do ("filename cm-score")."""
    return re.sub(r"[^a-z]", "", columns[-1].lower()) in _SCORE_TITLES


def _mismatches(path: Path, protocol: Path, rows: Sequence[_Row], known: Mapping[str, Utterance]) -> list[str]:
    scored = {name for name, *_ in rows}
    contradictory = [
        name
        for name, _, key, _ in rows
        if name in known and key != UNKNOWN and (key == "bonafide") != (known[name].target == 1)
    ]
    kinds = [
        (path, f"utterances that {protocol} lacks", sorted(scored - known.keys()), "Give the protocol of this part."),
        (protocol, f"utterances that {path} lacks", sorted(known.keys() - scored), "Score all of the part."),
        (path, f"utterances whose key is not that of {protocol}", contradictory, "Mend the file."),
    ]
    return [problem(place, what, items, mend) for place, what, items, mend in kinds if items]


def _existing(path: str | os.PathLike[str], what: str) -> Path:
    if not Path(path).is_file():
        raise DatasetError(f"{path}: no such file. Check the path of {what}.")
    return Path(path)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
