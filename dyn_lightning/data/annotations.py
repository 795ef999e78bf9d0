"""Who speaks when, and what is scored: RTTM, UEM and LAB files, as ``pyannote.database``, dscore and NIST read them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from dyn_lightning.data.audio import DatasetError
from dyn_lightning.data.text_files import read_lines

Segments = list[tuple[float, float]]  # (start_s, end_s)

SPEECH = ("SPEAKER",)
UNSCORED = ("NOSCORE", "NO_RT_METADATA")
_OTHER = "NON-SPEECH NON-LEX LEXEME SPKR-INFO SEGMENT FILLER EDIT IP SU CB A/P"
_RTTM_TYPES = frozenset((*SPEECH, *UNSCORED, *_OTHER.split()))
_RTTM_COLUMNS = (5, 10)
_SILENCES = ("sil", "silence", "<sil>", "sp", "pau", "pause", "h#", "#")
_NON_SPEECH_LABELS = frozenset(
    (*_SILENCES, "noise", "music", "0", "nonspeech", "non-speech", "non_speech", "notspeech"),
)
_HTK_PER_S = 10_000_000  # units of 100 ns
_HTK_FROM = 10_000  # 1 ms; as seconds nearly three hours


def read_rttm(path: str | os.PathLike[str], types: Sequence[str] = SPEECH) -> dict[str, Segments]:
    """Segments by recording of the records of some types; by default speakers' segments, which may overlap.

    Of the types of NIST's format, SPEAKER alone is speech. NON-SPEECH, NON-LEX, LEXEME, SPKR-INFO and others that
    describe words or speakers are passed over, as in ``pyannote.database``.

    Raises:
        DatasetError: a line is no RTTM record, or its time is negative or no number; the line is named.
    """
    segments: dict[str, Segments] = {}
    for number, line in enumerate(read_lines(path), start=1):
        fields = line.split()
        if not fields or line.lstrip().startswith((";", "#")):
            continue
        where, kind = f"{path}, line {number}", fields[0].upper()
        if kind not in _RTTM_TYPES:
            raise DatasetError(f"{where}: {fields[0]!r} is no type of RTTM record, such as SPEAKER. Mend the line.")
        if kind not in types:
            continue
        low, high = _RTTM_COLUMNS
        if not low <= len(fields) <= high:
            mend = " A name must not hold spaces." if len(fields) > high else ""
            raise DatasetError(f"{where}: is not '{kind} <file> <channel> <start> <duration> …'. Mend the line.{mend}")
        start_s, duration_s = (_seconds(where, *pair) for pair in zip(("start", "duration"), fields[3:5], strict=True))
        segments.setdefault(fields[1], []).append((start_s, start_s + duration_s))
    return segments


def read_uem(path: str | os.PathLike[str]) -> dict[str, Segments]:
    """The parts that are annotated, and so scored, by recording.

    Raises:
        DatasetError: a line is no UEM record, or a part ends before it begins; the line is named.
    """
    segments: dict[str, Segments] = {}
    for number, line in enumerate(read_lines(path), start=1):
        fields = line.split()
        if not fields or line.lstrip().startswith((";", "#")):
            continue
        where = f"{path}, line {number}"
        if len(fields) != 4:
            raise DatasetError(f"{where}: is not '<file> <channel> <start> <end>'. Mend the line.")
        segments.setdefault(fields[0], []).append(_part(where, fields[2], fields[3]))
    return segments


def read_lab(path: str | os.PathLike[str]) -> Segments:
    """Speech segments of one recording from ``<start> <end> [<label>]`` lines, as Audacity and HTK write them.

    Times are seconds or, where all are whole numbers that reach beyond 10,000, HTK's units of 100 ns. Every label is
    speech but those of silence and noise ("sil", "pau", "nonspeech", "noise", "0" and the like), in any case.

    Raises:
        DatasetError: a line is no such record, or ends before it begins; the line is named.
    """
    rows: list[tuple[str, str, str, str]] = []
    for number, line in enumerate(read_lines(path), start=1):
        fields = line.split(maxsplit=2)
        if not fields or fields[0] == "\\":  # of Audacity: the frequencies of the label above
            continue
        if len(fields) < 2:
            raise DatasetError(f"{path}, line {number}: is not '<start> <end> <label>'. Mend the line.")
        rows.append((f"{path}, line {number}", fields[0], fields[1], fields[2] if len(fields) > 2 else ""))
    whole = all(start.isdigit() and end.isdigit() for _, start, end, _ in rows)
    is_htk = whole and any(int(end) >= _HTK_FROM for _, _, end, _ in rows)
    scale = 1 / _HTK_PER_S if is_htk else 1.0
    found: Segments = []
    for where, start, end, label in rows:
        start_s, end_s = _part(where, start, end)
        if _is_speech(label, is_htk):
            found.append((start_s * scale, end_s * scale))
    return found


def _is_speech(label: str, is_htk: bool) -> bool:
    # Behind the label HTK may write a score, and labels of other levels.
    name = label.split()[0] if is_htk and label else label.strip()
    return name.lower() not in _NON_SPEECH_LABELS


def _part(where: str, start: str, end: str) -> tuple[float, float]:
    start_s, end_s = _seconds(where, "start", start), _seconds(where, "end", end)
    if end_s < start_s:
        raise DatasetError(f"{where}: ends at {end}, before it begins at {start}. Mend the line.")
    return start_s, end_s


def _seconds(where: str, what: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value < math.inf:
        raise DatasetError(f"{where}: the {what} {text!r} is no time in seconds, 0 or more. Mend the line.")
    return value
