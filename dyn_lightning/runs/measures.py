"""What the metrics of records are: as their task declared it, or by their names where a record is older than that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dyn_lightning.metrics import info
from dyn_lightning.metrics.info import MetricInfo

KEY = "metric_info"
"""Of a record: metric → what it is, see :class:`MetricInfo`."""
_TEST_EER = re.compile(r"test/(.+/)?eer")
# Of records without declarations: what our own tasks have called their metrics.
_RATE = re.compile(r"eer(_.*)?|accuracy|error_rate|wer")
_LOWER_IS_BETTER = re.compile(r"eer|loss|[ml]ae|mse|l[12]|tdcf|wer|error", re.I)
_NEITHER = ("threshold", "penalty")
_SCORE = "_at_budget"
_BY_SNR, _BY_ATTACK = "eer_snr_db_", "eer_"


def info_of(metric: str, records: Iterable[Mapping[str, Any]]) -> MetricInfo:
    """What a metric is, by the first record that declares it; else by its name."""
    declared: Mapping[str, object] | None = None
    older = False
    for record in records:
        if (about := record.get(KEY)) is None:
            older = older or metric in (record.get("metrics") or {})
        elif metric in about:
            declared = about[metric]
            break
    return MetricInfo.from_dict(declared) if declared is not None else info_by_name(metric, with_groups=older)


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
    if last == "eer":
        return info.EER_INFO
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


def is_test_eer(metric: str) -> bool:
    """Whether a metric is the EER of a test set."""
    return bool(_TEST_EER.fullmatch(metric))


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
