"""What keeps a JSON object from being the record of a run: found before anything is made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dyn_lightning.runs import measures

_OBJECTS = ("config", "metrics", "metrics_last", "widths", "versions", "history")
_TEXTS = ("config_hash", "dataset", "name", "command", "config_file", "revision", "device", "platform", "finished_utc")
_LARGEST = 1e300
UNITS = ("flops_per_second", "flops_per_call")


def unit_of(record: Mapping[str, Any]) -> str:
    """Of the record's FLOPs."""
    known = [unit for unit in UNITS if record.get(unit) is not None] or [unit for unit in UNITS if unit in record]
    return known[0] if known else UNITS[-1]


def problem_of(record: Mapping[str, Any], *, needs: Sequence[str] = ("config", "metrics")) -> str | None:
    """What is wrong with a record, in words; None where it can be used.

    Args:
        record: a JSON object.
        needs: what has to be there; FLOPs have to be a number then.
    """
    if absent := [key for key in needs if key not in record]:
        return f"lacks {', '.join(absent)}"
    for key in _OBJECTS:
        if not isinstance(record.get(key, {}), Mapping):
            return f"{key} is no object"
    for key in _TEXTS:
        if not isinstance(record.get(key, ""), (str, type(None))):
            return f"{key} is {_shown(record[key])}, no text"
    for name, value in _numbers(record).items():
        if not (value is None or is_number(value)):
            return f"{name} is {_shown(value)}, no number"
    for unit in UNITS:
        if (unit in needs and record[unit] is None) or (record.get(unit) is not None and record[unit] <= 0):
            return f"{unit} is {record[unit]!r}, no positive number"
    return _problem_of_lists(record)


def _numbers(record: Mapping[str, Any]) -> dict[str, Any]:
    found = {f"metrics {k}": v for key in ("metrics", "metrics_last") for k, v in record.get(key, {}).items()}
    costs = [f"{unit}{what}" for unit in UNITS for what in ("", "_before", "_fixed", "_paper", "_published")]
    return found | {name: record.get(name) for name in ("wall_time_s", "parameters", "threads", *costs)}


def _problem_of_lists(record: Mapping[str, Any]) -> str | None:
    for name in (*(f"{unit}_full" for unit in UNITS), *(key for key in record if key.endswith("_interval"))):
        values = record.get(name)
        many = values if isinstance(values, list) else [values]
        if values is not None and not (many and all(map(is_number, many))):
            return f"{name} is {_shown(values)}, no number"
    for name, value in record.get("widths", {}).items():
        if not is_size(value):
            return f"width {name} is {_shown(value)}, not [kept, full]"
    for name, values in record.get("history", {}).items():
        if not (isinstance(values, list) and all(v is None or is_number(v) for v in values)):
            return f"history {name} is no list of numbers"
    if not isinstance(record.get("seed"), (int, type(None))):
        return f"seed is {_shown(record['seed'])}, no integer"
    return measures.problem_of(record[measures.KEY]) if measures.KEY in record else None


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number that can be reckoned with: finite, no truth value."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < _LARGEST and (isinstance(value, int) or math.isfinite(value))


def is_size(value: Any) -> bool:
    """Whether a JSON value is [kept, full] of a learned size."""
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value)) and value[1] > 0


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
