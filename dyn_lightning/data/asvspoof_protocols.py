"""Reading ASVspoof protocols and ASV scores, and matching them with the audio files that are there.

Problems of one kind are collected and told at once: a corpus of 121,000 files is not mended one by one.
"""

import filecmp
import math
import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dyn_lightning.data.audio import DatasetError, is_clutter
from dyn_lightning.data.corpora.asvspoof import BONA_FIDE_SYSTEM, Part, SpoofCorpus, Utterance
from dyn_lightning.data.text_files import read_lines
from dyn_lightning.metrics.tdcf import asv_error_rates, tandem_costs

_TARGETS = {"bonafide": 1, "spoof": 0}
_NO_SYSTEM = ("-", "bonafide")  # what the system column holds for bona fide speech, by corpus
_SHOWN = 10


@dataclass(frozen=True)
class Scan:
    """What was found of one part of a corpus.

    Attributes:
        utterances: the scored lines, in the protocol's order.
        problems: one message for each kind of problem; none means that lines and files match.
        strays: message about files that have no line and enrol no speaker, or None.
    """

    utterances: list[Utterance]
    problems: list[str]
    strays: str | None


def problem(place: Path, what: str, items: Sequence[str], mend: str) -> str:
    """One message for all problems of a kind: their number, the first ten, and the mend."""
    rest = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f"{place}: {what} ({len(items)}): {', '.join(items[:_SHOWN])}{rest}. {mend}"


def find_root(data_root: str | os.PathLike[str], corpus: SpoofCorpus) -> Path:
    """The folder that holds a corpus: ``data_root`` itself or, for ASVspoof2019, ``LA`` or ``LA/LA`` below it.

    Raises:
        DatasetError: there is no such folder, or none of them holds the protocols.
    """
    data_root = Path(data_root)
    if not data_root.is_dir():
        raise DatasetError(
            f"{data_root}: no such folder. Set data_root, or DATA_ROOT in the environment, to the folder that holds "
            f"{corpus.title}."
        )
    roots = [data_root / below for below in corpus.roots]
    for root in roots:
        if any(_protocol_path(root, corpus, part).is_file() for part in corpus.protocols):
            return root
    first = next(iter(corpus.protocols.values()))
    places = ", ".join(str(root / folder / first) for root in roots for folder in corpus.protocol_folders)
    raise DatasetError(
        f"{data_root}: no protocols of {corpus.title} found, looked for {places}. Set data_root to the folder "
        "that holds the corpus in its official layout."
    )


def _protocol_path(root: Path, corpus: SpoofCorpus, part: Part) -> Path:
    paths = [root / folder / corpus.protocols[part] for folder in corpus.protocol_folders]
    return next((path for path in paths if path.is_file()), paths[0])


def scan(root: Path, corpus: SpoofCorpus, part: Part) -> Scan:
    """Reads a part's protocol and lists its audio folder once; opens no audio file.

    Raises:
        DatasetError: the protocol or the audio folder is missing.
    """
    protocol, folder = _protocol_path(root, corpus, part), root / corpus.audio[part]
    if not protocol.is_file():
        raise DatasetError(f"{protocol}: no such file. Restore the protocols of {corpus.title}.")
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder. Unpack the audio of {corpus.title}, part {part}, there.")
    lines, broken = read_protocol_lines(protocol, corpus)
    problems = list(broken)
    files = [entry.name for entry in os.scandir(folder) if not is_clutter(Path(entry.name))]
    present = {name.removesuffix(".flac") for name in files if name.endswith(".flac")}
    scored = [line for line in lines if corpus.subset is None or line[corpus.subset] == "eval"]
    absent = [line[corpus.utterance] for line in scored if line[corpus.utterance] not in present]
    if absent:
        problems.append(
            problem(folder, f"utterances of {protocol.name} without a file", absent, "Fetch the missing audio again.")
        )
    if not scored and not problems:
        problems.append(f"{protocol}: holds no utterance. Restore the official protocol.")
    named = {line[corpus.utterance] for line in lines} | enrolled(root, corpus, part)
    extra = [] if broken else sorted(present - named)  # a broken line would make its file a stray
    strays = None
    if extra:
        lists = corpus.enrolments.get(part)
        mend = "Remove them" + (f", or restore the lists of those that enrol speakers, {lists}." if lists else ".")
        strays = problem(folder, f"files without a line in {protocol.name}", extra, mend)
    return Scan([utterance_of(line, corpus, folder) for line in scored], problems, strays)


def utterance_of(line: list[str], corpus: SpoofCorpus, folder: Path) -> Utterance:
    """What a line of :func:`read_protocol_lines` says, its file in ``folder``."""
    target = _TARGETS[line[corpus.key]]
    system = BONA_FIDE_SYSTEM if target or corpus.system is None else line[corpus.system]
    name = line[corpus.utterance]
    return Utterance(name, line[corpus.speaker], system, target, f"{folder}{os.sep}{name}.flac")


def read_protocol_lines(path: Path, corpus: SpoofCorpus) -> tuple[list[list[str]], list[str]]:
    """The sound lines of a protocol, split into columns, and the problems of the others."""
    short, unknown, contradictory, lines = [], [], [], []
    for number, text in enumerate(read_lines(path), start=1):
        columns = text.split()
        if not columns:
            continue
        if len(columns) < corpus.n_columns:
            short.append(f"line {number} ({len(columns)})")
        elif columns[corpus.key] not in _TARGETS:
            unknown.append(f"line {number} ({columns[corpus.key]})")
        elif corpus.system is None:
            lines.append(columns)
        elif (columns[corpus.key] == "bonafide") != (columns[corpus.system] in _NO_SYSTEM):
            contradictory.append(f"line {number} ({columns[corpus.system]} {columns[corpus.key]})")
        else:
            lines.append(columns)
    repeated = [name for name, n in Counter(line[corpus.utterance] for line in lines).items() if n > 1]
    mend = "Restore the official protocol."
    kinds = [
        (f"lines without the {corpus.n_columns} columns of {corpus.title}", short),
        ("lines whose key is neither bonafide nor spoof", unknown),
        ("lines whose system contradicts the key", contradictory),
        ("utterances named more than once", repeated),
    ]
    return lines, [problem(path, what, items, mend) for what, items in kinds if items]


def enrolled(root: Path, corpus: SpoofCorpus, part: Part) -> set[str]:
    """Utterances that only enrol speakers for the ASV system: second column, separated by commas."""
    if part not in corpus.enrolments:
        return set()
    names: set[str] = set()
    for path in root.glob(corpus.enrolments[part]):
        for text in read_lines(path):
            names.update(text.split()[1].split(",") if len(text.split()) > 1 else ())
    return names


def read_part_asv_rates(
    root: Path, corpus: SpoofCorpus, part: Part, systems: Collection[str]
) -> tuple[float, float, float] | None:
    """:func:`read_asv_rates` of a part's own ASV scores; None where the file is absent.

    Raises:
        DatasetError: as there; or another part's file holds the same scores, which attacks that all parts share
            (physical access) do not tell.
    """
    path = root / corpus.asv_scores[part]
    if not path.is_file():
        return None
    rates = read_asv_rates(path, systems)
    others = (root / place for other, place in corpus.asv_scores.items() if other != part)
    twin = next((other for other in others if other.is_file() and filecmp.cmp(path, other, shallow=False)), None)
    if twin is not None:
        raise DatasetError(
            f"{path}: holds the same scores as {twin}, so that one of them belongs to the other part. Put the official "
            "file of each part there."
        )
    return rates


def read_asv_rates(path: Path, systems: Collection[str]) -> tuple[float, float, float]:
    """:func:`~dyn_lightning.metrics.tdcf.asv_error_rates` of a score file.

    Raises:
        DatasetError: as :func:`read_asv_scores`; or the t-DCF is not defined for such an ASV system.
    """
    scores = read_asv_scores(path, systems)
    rates = asv_error_rates(scores["target"], scores["nontarget"], scores["spoof"])
    try:
        tandem_costs(rates)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}, or restore the official ones.") from error
    return rates


def read_asv_scores(path: Path, systems: Collection[str]) -> dict[str, Tensor]:
    """Scores of a speaker verification system by key: "target", "nontarget" and "spoof", float64.

    A line is ``CM_KEY ASV_KEY SCORE``, where CM_KEY is "bonafide" or the spoofing system.

    Args:
        path: the score file of one part.
        systems: spoofing systems of that part's protocol: the file has to hold the same ones.

    Raises:
        DatasetError: a malformed line, a key without scores, or other systems than the part's, so that the file
            must belong to another part.
    """
    scores: dict[str, list[float]] = {"target": [], "nontarget": [], "spoof": []}
    malformed, found = [], set()
    for number, text in enumerate(read_lines(path), start=1):
        columns = text.split()
        if not columns:
            continue
        score = _score(columns)
        if score is None:
            malformed.append(f"line {number}")
            continue
        scores[columns[1]].append(score)
        if columns[1] == "spoof":
            found.add(columns[0])
    if malformed:
        what = "lines that are not 'bonafide|SYSTEM target|nontarget|spoof SCORE'"
        mend = (
            "Restore the official ASV scores of ASVspoof 2019; those of 2021 and 5 have other columns, and their t-DCF "
            "is another, which is not computed."
        )
        raise DatasetError(problem(path, what, malformed, mend))
    empty = [key for key, values in scores.items() if not values]
    if empty:
        raise DatasetError(f"{path}: holds no score for {', '.join(empty)}. Restore the official ASV scores.")
    if found != set(systems):
        raise DatasetError(
            f"{path}: holds scores of the systems {_range(found)}, the protocol has {_range(systems)}: it belongs to "
            "another part or corpus. Put the official file of this part there."
        )
    return {key: torch.tensor(values, dtype=torch.float64) for key, values in scores.items()}


def _score(columns: list[str]) -> float | None:
    if len(columns) != 3 or columns[1] not in ("target", "nontarget", "spoof"):
        return None
    if (columns[0] == "bonafide") == (columns[1] == "spoof"):
        return None
    try:
        score = float(columns[2])
    except ValueError:
        return None
    return score if math.isfinite(score) else None


def _range(systems: Collection[str]) -> str:
    names = sorted(systems)
    return ", ".join(names) if len(names) < 5 else f"{names[0]} to {names[-1]} ({len(names)})"
