"""Each run once: of the same configuration and seed, made twice or written down twice, the latest counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def identity_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """What two records of one run share: configuration, seed, data set and unit of cost.

    Without a seed, or with one drawn at random (``false``), a run is never made twice: only the very same record counts
    once.
    """
    seed = record.get("seed")
    if seed is None or isinstance(seed, bool):
        return (text_of(record),)
    units = sorted(key for key in ("flops_per_second", "flops_per_call") if record.get(key) is not None)
    return tuple(text_of(record.get(key)) for key in ("config_hash", "config", "seed", "dataset")) + tuple(units)


def is_same_run(record: Mapping[str, Any], resumed: Mapping[str, Any], config_file: str | None) -> bool:
    """Whether a record is of the run that has been resumed: of its configuration and data, and its seed or folder.

    Args:
        record: one that was there before.
        resumed: of the run that went on.
        config_file: of the run that the checkpoint belongs to, as records name it; None: not known.
    """
    if identity_of({**record, "seed": 0}) != identity_of({**resumed, "seed": 0}):
        return False
    seed = record.get("seed")
    known = seed is not None and not isinstance(seed, bool)
    return (known and seed == resumed.get("seed")) or (
        config_file is not None and record.get("config_file") == config_file
    )


def latest_of_each(items: Sequence[T], identity: Callable[[T], Hashable], time: Callable[[T], str]) -> list[T]:
    """The latest of the items that share an identity, each at the place of the first.

    Args:
        items: in the order in which they were read.
        identity: of an item.
        time: of an item, empty where it is not known; of the same time the last that was read is the latest.
    """
    found: dict[Hashable, T] = {}
    for item in items:
        key = identity(item)
        if key not in found or time(item) >= time(found[key]):
            found[key] = item
    return list(found.values())


def latest_records(records: Sequence[dict[str, object]]) -> list[dict[str, Any]]:
    """The latest record of each run."""
    return latest_of_each(records, identity_of, time_of)


def time_of(record: Mapping[str, Any]) -> str:
    """When a run was finished; empty where its record does not say."""
    return str(record.get("finished_utc") or "")


def left_out(n: int) -> str:
    """What to say of records that do not count; empty where there are none."""
    if not n:
        return ""
    some = "1 record is" if n == 1 else f"{n} records are"
    return f"{some} left out: of the same configuration and seed only the latest counts"


def text_of(value: Any) -> str:
    """JSON with sorted keys, to compare values by."""
    return json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
