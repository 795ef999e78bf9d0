"""Reads what a report is made of: results, run folders, artifacts and score files."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dyn_lightning.artifact.files import ARCHITECTURE, REPORT
from dyn_lightning.data.audio import DatasetError
from dyn_lightning.data.score_files import ScoreTable, read_scores
from dyn_lightning.inference.scoring import check_scores
from dyn_lightning.inference.spoofing import SCORE_FILE
from dyn_lightning.report.studies import Run, latest_runs
from dyn_lightning.runs.checks import is_size, problem_of, unit_of
from dyn_lightning.runs.history import FitHistory, columns_of, history_of, read_history
from dyn_lightning.runs.records import read_lines

RESULTS, METRICS, CONFIG = "results.jsonl", "metrics.csv", "config.yaml"
SCORE_FILES = (SCORE_FILE, f"eval_{SCORE_FILE}")
_HASH = re.compile(r"-[0-9a-f]{12}$")
_FLOPS = {f"{prefix}flops{per}": f for prefix, f in (("", 1.0), ("m", 1e6), ("g", 1e9)) for per in ("", "_per_second")}


_PERCENT = "_percent"


@dataclass
class Sources:
    """All that was found.

    Attributes:
        runs: of results files, each once.
        left_out: records of runs that were made again: the latest counts.
        histories: of run folders.
        reports: artifact → content of its ``report.json``.
        scores: file → its scores.
        configs: path of a run folder's configuration → its text.
    """

    runs: list[Run] = field(default_factory=list)
    histories: list[FitHistory] = field(default_factory=list)
    reports: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    scores: dict[str, ScoreTable] = field(default_factory=dict)
    configs: dict[str, str] = field(default_factory=dict)
    left_out: int = 0

    def __bool__(self) -> bool:
        return any((self.runs, self.histories, self.reports, self.scores))


@dataclass(frozen=True)
class Published:
    """A published result.

    Attributes:
        dataset: on which it was got.
        name: of the system.
        flops_per_second: as published.
        error_percent: as published.
        note: what is to be known to compare it.
        metric: what the error is, by its name in records.
    """

    dataset: str
    name: str
    flops_per_second: float | None
    error_percent: float
    note: str = ""
    metric: str = "eer"


def read_sources(paths: Sequence[str | os.PathLike[str]], protocol: str | None = None) -> Sources:
    """Read files and folders.

    Args:
        paths: ``*.jsonl`` files of results; ``metrics.csv`` of CSVLogger or a checkpoint for its history;
            ``report.json`` of an artifact; any other file is one of scores. A folder is searched for ``results.jsonl``,
            run folders, artifacts, ``scores.txt`` and ``eval_scores.txt``.
        protocol: of the score files whose lines do not say what each utterance is.

    Raises:
        DatasetError: names the file, and the line, that is missing or malformed.
    """
    found = Sources()
    for path in map(Path, paths):
        if not path.exists():
            raise DatasetError(f"{path}: no such file or folder. Check the path.")
        files = list(_files_in(path)) if path.is_dir() else [path]
        if not files:
            raise DatasetError(
                f"{path}: holds no {RESULTS}, {METRICS}, checkpoint, artifact or {SCORE_FILE}. Give a run's folder."
            )
        for file in files:
            _read(file, found, protocol)
    runs = latest_runs(found.runs)
    found.left_out, found.runs = len(found.runs) - len(runs), runs
    if not found:
        raise DatasetError(f"{', '.join(map(str, paths))}: nothing to report. Fits need a ComplexityLogger.")
    return found


def read_published(path: str | os.PathLike[str]) -> list[Published]:
    """Published results of a CSV file: columns ``dataset``, ``system`` or ``model``, ``<metric>_percent``, such as
    ``eer_percent``, and a count of FLOPs, ``flops_per_second`` or ``mflops…`` or ``gflops…`` (may be empty). A ``note``
    says what is to be known to compare them; other columns lengthen the name.

    Raises:
        DatasetError: names the file and the column or line that is wrong.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from error
    named = _named_columns(columns)
    if named is None:
        raise DatasetError(
            f"{path}: its columns are {', '.join(columns) or 'none'}. It needs dataset, system (or model), eer_percent "
            "(or another metric's) and flops_per_second (or mflops, gflops)."
        )
    found = []
    for number, row in enumerate(rows, start=2):
        try:
            found.append(_published(row, *named, columns))
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{path}, line {number}: {error}. Mend the number.") from error
    return found


def _named_columns(columns: Sequence[str]) -> tuple[str, str, str] | None:
    """The columns of name, cost and error of published results; None where one is absent."""
    name = next((c for c in ("system", "model") if c in columns), None)
    cost = next((c for c in columns if c in _FLOPS), None)
    error = next((c for c in columns if c.endswith(_PERCENT)), None)
    if "dataset" not in columns or name is None or cost is None or error is None:
        return None
    return name, cost, error


def _published(row: Mapping[str, str], name: str, cost: str, error: str, columns: Sequence[str]) -> Published:
    extra = [c for c in columns if c not in ("dataset", "note", name, cost, error)]
    details = ", ".join(f"{c} {row[c]}" for c in extra if row[c] and row[c] != "-")
    return Published(
        row["dataset"],
        f"{row[name]} ({details})" if details else row[name],
        _FLOPS[cost] * float(row[cost]) if row[cost] else None,
        float(row[error]),
        row.get("note") or "",
        error.removesuffix(_PERCENT),
    )


def _files_in(folder: Path) -> Iterator[Path]:
    """What a folder holds of use; of a run, its log or, where there is none, its last checkpoint."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(place)
        yield from (here / name for name in (RESULTS, *SCORE_FILES, CONFIG) if name in names)
        if REPORT in names and ARCHITECTURE in names:
            yield here / REPORT
        if METRICS in names:
            yield here / METRICS
        elif not any((parent / METRICS).is_file() for parent in (here.parent, here.parent.parent)):
            checkpoints = sorted(name for name in names if name.endswith(".ckpt"))
            if checkpoints:
                yield here / ("last.ckpt" if "last.ckpt" in checkpoints else checkpoints[-1])


def _read(path: Path, found: Sources, protocol: str | None) -> None:
    if path.suffix == ".jsonl":
        found.runs += _runs(path)
    elif path.suffix in (".csv", ".ckpt"):
        if history := read_history(path, _label(path)):
            found.histories.append(history)
    elif path.suffix == ".json":
        found.reports[_label(path)] = _report(path)
    elif path.name == CONFIG:
        found.configs[str(path)] = path.read_text(encoding="utf-8", errors="replace")
    else:
        table = read_scores(path, protocol)
        try:
            check_scores(table)
        except DatasetError as error:
            raise DatasetError(f"{path}: {error}") from error
        label = _label(path) if path.name in SCORE_FILES else path.stem
        short = _HASH.sub("", label)  # of its settings, which folders of studies end with
        found.scores[label if short in found.scores else short] = table


def _label(path: Path) -> str:
    """A run's folder, by which its files are called."""
    parts = [p for p in path.parent.parts if p not in ("checkpoints", "artifact", "predictions")]
    return "/".join(parts[-2:]) or path.stem


def _runs(path: Path) -> list[Run]:
    try:
        lines = read_lines(path)
    except (OSError, UnicodeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from error
    except ValueError as error:
        raise DatasetError(str(error)) from error
    runs = []
    for number, record in lines:
        unit = unit_of(record)
        if problem := problem_of(record, needs=("config", "metrics", unit)):
            raise DatasetError(f"{path}, line {number}: {problem}. Give what fit --results wrote, or remove the line.")
        texts = {key: record.get(key) or "" for key in ("config_hash", "dataset")}
        runs.append(Run({"seed": None, **record, **texts}, f"{path}:{number}"))
    return runs


def _report(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: is no JSON ({error}). Write the artifact again.") from error
    report = content if isinstance(content, dict) else {"sizes": None}
    sizes, layers = report.get("sizes", {}), report.get("layers", [])
    sound = isinstance(sizes, dict) and all(map(is_size, sizes.values()))
    if not (sound and isinstance(layers, list) and all(isinstance(row, dict) for row in layers)):
        raise DatasetError(f"{path}: is no report of a consolidation. Give report.json of an artifact.")
    return report


def histories_of(runs: Sequence[Run], label: str) -> list[FitHistory]:
    """Histories that records themselves hold, that of the first seed."""
    for run in runs:
        if found := history_of(columns_of(run.record.get("history", {})), label):
            return [found]
    return []
