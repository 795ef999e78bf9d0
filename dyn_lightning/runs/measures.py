"""What the metrics of records are: as their task declared it, or by their names where a record is older than that."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dyn_lightning.data.audio import DatasetError
from dyn_lightning.files import write_atomically
from dyn_lightning.metrics import info
from dyn_lightning.metrics.info import MetricInfo

KEY = "metric_info"
"""Of a record: metric → what it is, see :class:`MetricInfo`."""
DECLARED = "metric_info.json"
"""Beside a run's ``metrics.csv``: the same."""
USUAL = "val/eer"
"""What runs are compared by where no record says what its task is judged by."""
# Of records without declarations: what our own tasks have called their metrics.
_RATE = re.compile(r"(eer|accuracy|error_rate|wer|miss_rate|false_alarm_rate|recall|precision|f1)(_.*)?")
_LOWER_IS_BETTER = re.compile(r"eer|loss|miss|false_alarm|[ml]ae|mse|l[12]|tdcf|wer|error", re.I)
_NEITHER = ("threshold", "penalty")
_KNOWN = {"eer": info.EER_INFO, "min_tdcf": MetricInfo("min t-DCF", lower_is_better=True)}
_SCORE = "_at_budget"
_BY_SNR, _BY_ATTACK = "eer_snr_db_", "eer_"


def info_of(metric: str, records: Iterable[Mapping[str, Any]]) -> MetricInfo:
    """What a metric is, by the first record that declares it; else by its name."""
    declared: Mapping[str, object] | None = None
    older = says_main = False
    for record in records:
        if (about := record.get(KEY)) is None:
            older = older or metric in (record.get("metrics") or {})
        elif metric in about:
            declared, says_main = about[metric], any("main" in given for given in about.values())
            break
    if declared is None:
        return info_by_name(metric, with_groups=older)
    found = MetricInfo.from_dict(declared)
    # Records of before tasks said what they are judged by first.
    return replace(found, main=True) if not says_main and metric.rpartition("/")[2] == "eer" else found


def info_by_name(metric: str, *, with_groups: bool = False) -> MetricInfo:
    """What a metric is as far as its name tells.

    Args:
        metric: with the stage before it.
        with_groups: whether names may stand for parts of a test set, as in records of before metrics were declared.
    """
    last = metric.rpartition("/")[2]
    if with_groups and not last.endswith(_SCORE):
        for group, prefix in (("snr_db", _BY_SNR), ("attack", _BY_ATTACK)):
            if last.startswith(prefix) and last != prefix:
                return MetricInfo("EER", "%", True, group, last.removeprefix(prefix))
    if last in _KNOWN:
        return _KNOWN[last]
    lower = None
    if last not in _NEITHER:
        lower = False if last == "accuracy" else True if _LOWER_IS_BETTER.search(last) else None
    if _RATE.fullmatch(last) and not last.endswith(_SCORE):
        return MetricInfo(last.replace("_", " "), "%", lower)
    return MetricInfo(last, "", lower)


def is_judged_by(metric: str, records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a network is judged by a metric: not by one of a part of the set, nor by a threshold."""
    about = info_of(metric, records)
    declared = any(metric in (record.get(KEY) or {}) for record in records)
    return (
        not about.group
        and metric.rpartition("/")[2] not in _NEITHER
        and not (declared and about.lower_is_better is None)
    )


def main_metrics(metrics: Iterable[str], records: Sequence[Mapping[str, Any]], stage: str) -> list[str]:
    """Those of a stage ("val" or "test") by which networks of their task are compared first."""
    return [m for m in metrics if m.partition("/")[0] == stage and info_of(m, records).is_main]


def usual_metric(records: Sequence[Mapping[str, Any]]) -> str:
    """What runs are compared by where nobody says: what their task is judged by first, in the validation."""
    names = dict.fromkeys(name for record in records for name in record.get("metrics") or {})
    return next(iter(main_metrics(names, records, "val")), USUAL)


def title_of(metric: str, about: MetricInfo) -> str:
    """``test/mixed/eer`` as "EER (%), test/mixed"."""
    stage = metric.rpartition("/")[0]
    name = f"{about.title} of {about.member}" if about.member else about.title
    return f"{name}, {stage}" if stage else name


def problem_of(declared: object) -> str | None:
    """What keeps a value from being the declarations of a record."""
    if not isinstance(declared, Mapping):
        return f"{KEY} is no object"
    for metric, given in declared.items():
        if not isinstance(given, Mapping):
            return f"{KEY} of {metric} is no object"
        try:
            MetricInfo.from_dict(given)
        except ValueError as error:
            return f"{KEY} of {metric}: {error}"
    return None


def write_declared(about: Mapping[str, MetricInfo], path: str | os.PathLike[str]) -> None:
    """Keep what metrics are beside a run's logs, which hold their names alone."""
    content = {name: found.as_dict() for name, found in about.items()}
    write_atomically(Path(path), (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def read_declared(path: str | os.PathLike[str]) -> dict[str, MetricInfo]:
    """What :func:`write_declared` kept; nothing where there is no such file, as of runs of before.

    Raises:
        DatasetError: names the file that cannot be used.
    """
    path = Path(path)
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}). Remove it.") from error
    if problem := problem_of(content):
        raise DatasetError(f"{path}: {problem}. Remove it.")
    return {name: MetricInfo.from_dict(given) for name, given in content.items()}
