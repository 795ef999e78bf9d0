"""Finished runs as points of error over FLOPs: from results files, from a sweep's journal, and from W&B."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from dyn_lightning.report import config_hash, read_results
from dyn_lightning.sweep.journal import JOURNAL
from dyn_lightning.sweep.space import SweepError

WANDB_PREFIX = "wandb:"
WANDB_RUN = "run"
"""Where ``fit`` keeps in W&B's configuration what tells a run apart: config, config_hash, seed and dataset."""
UNITS = ("flops_per_second", "flops_per_call")
_SEED = "seed_everything"


@dataclass(frozen=True)
class Point:
    """What a run, or the runs of one configuration, came to.

    Attributes:
        error: value of the metric, the less the better; of several runs the mean.
        flops: cost of the network, in ``unit``; of several runs the mean.
        unit: flops_per_second (of audio) or flops_per_call.
        configuration: hash of all that decides the outcome but the seed.
        dataset: name of the data set, where known.
        settings: dotted name → value.
        runs: where each run was found.
    """

    error: float
    flops: float
    unit: str
    configuration: str
    dataset: str | None
    settings: Mapping[str, Any]
    runs: tuple[str, ...]


def read_points(sources: Iterable[str], metric: str) -> tuple[list[Point], int]:
    """A point for every finished run that has the metric, and the number of those that have not.

    Args:
        sources: files of ``fit --results``, folders or journals of ``dyn-lightning sweep``, and
            ``wandb:ENTITY/PROJECT`` or ``wandb:ENTITY/PROJECT/SWEEP``.
        metric: such as ``val/eer``.

    Raises:
        SweepError: for a source that is missing or holds no runs, and where W&B is not logged in to.
    """
    points: list[Point] = []
    without = 0
    for source in sources:
        path = source.removeprefix(WANDB_PREFIX)
        found = wandb_points(path, metric) if source.startswith(WANDB_PREFIX) else file_points(path, metric)
        points += [point for point in found if point is not None]
        without += sum(point is None for point in found)
    return points, without


def file_points(path: str | os.PathLike[str], metric: str) -> list[Point | None]:
    """Points of a file of results, or of a sweep's folder or journal; None for a run without the metric."""
    path = Path(path)
    if path.is_dir():
        if not (path / JOURNAL).is_file():
            raise SweepError(f"{path}: is no folder of dyn-lightning sweep. Give one, or the file of fit --results")
        path = path / JOURNAL
    try:
        lines = read_results(path)
    except (OSError, ValueError) as error:
        raise SweepError(f"{path}: cannot be read ({error})") from error
    latest = {line.get("run", f"{number}"): (number, line) for number, line in enumerate(lines, start=1)}
    found: list[Point | None] = []
    for number, line in latest.values():
        if line.get("event", "finished") != "finished":
            continue
        record = line if "event" not in line else line["record"]
        if not isinstance(record, Mapping) or "metrics" not in record:
            raise SweepError(
                f"{path}, line {number}: has no metrics. Give results of fit --results, or a sweep's folder"
            )
        found.append(_of_record(record, metric, f"{path}:{number}"))
    return found


def _of_record(record: Mapping[str, Any], metric: str, place: str) -> Point | None:
    return _point(
        record["metrics"].get(metric),
        {unit: record.get(unit) for unit in UNITS},
        configuration=record["config_hash"],
        dataset=record.get("dataset"),
        settings=_settings(record),
        place=place,
    )


def wandb_points(path: str, metric: str, api: Any = None) -> list[Point | None]:
    """Points of the finished runs of a W&B project or sweep; None for a run without the metric or without FLOPs.

    Runs of ``fit`` say themselves what tells them apart; of others all of W&B's configuration but the seed does.

    Args:
        path: ENTITY/PROJECT or ENTITY/PROJECT/SWEEP.
        metric: as it was logged; W&B keeps its last value.
        api: W&B's public one when absent.

    Raises:
        SweepError: if W&B is not logged in to, or has no such project or sweep.
    """
    import wandb  # half a second, which files do not need

    parts = path.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise SweepError(f"{WANDB_PREFIX}{path}: must be wandb:ENTITY/PROJECT or wandb:ENTITY/PROJECT/SWEEP")
    try:
        api = wandb.Api() if api is None else api
        runs = list(api.runs(path) if len(parts) == 2 else api.sweep(path).runs)
    except (wandb.Error, ValueError) as error:
        raise SweepError(
            f"{WANDB_PREFIX}{path}: W&B gives no runs ({error}). Check wandb login and the path"
        ) from error
    found: list[Point | None] = []
    for run in runs:
        if run.state != "finished":
            continue
        configuration, dataset, settings = _described(run.config)
        found.append(
            _point(
                run.summary.get(metric),
                {unit: run.summary.get(f"complexity/{unit}") for unit in UNITS},
                configuration=configuration,
                dataset=dataset,
                settings=settings,
                place=f"{WANDB_PREFIX}{parts[0]}/{parts[1]}/{run.id}",
            )
        )
    return found


def _described(config: Mapping[str, Any]) -> tuple[str, str | None, dict[str, Any]]:
    """Hash of the configuration, data set and settings of a run, by its configuration in W&B."""
    known = config.get(WANDB_RUN)
    if isinstance(known, Mapping) and "config_hash" in known:
        return known["config_hash"], known.get("dataset"), _settings(known)
    settings = flattened(config)
    return config_hash({k: v for k, v in settings.items() if k != _SEED}), None, settings


def _settings(known: Mapping[str, Any]) -> dict[str, Any]:
    return {**flattened(known.get("config", {})), _SEED: known.get("seed")}


def _point(
    error: Any,
    costs: Mapping[str, Any],
    *,
    configuration: str,
    dataset: str | None,
    settings: Mapping[str, Any],
    place: str,
) -> Point | None:
    known = {unit: cost for unit, cost in costs.items() if _is_number(cost)}
    if not _is_number(error) or not known:
        return None
    (unit, cost), *_ = known.items()
    return Point(float(error), float(cost), unit, configuration, dataset, settings, (place,))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration by dotted names; lists are values."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def mean_over_seeds(points: Iterable[Point]) -> list[Point]:
    """One point for each configuration, at the mean of its runs: the luckiest seed wins nothing."""
    groups: dict[tuple[str | None, ...], list[Point]] = {}
    for point in points:
        groups.setdefault((point.configuration, point.dataset, point.unit), []).append(point)
    return [_mean(group) for group in groups.values()]


def _mean(group: Sequence[Point]) -> Point:
    first = group[0]
    return Point(
        error=fmean(point.error for point in group),
        flops=fmean(point.flops for point in group),
        unit=first.unit,
        configuration=first.configuration,
        dataset=first.dataset,
        settings={name: value for name, value in first.settings.items() if name != _SEED},
        runs=tuple(run for point in group for run in point.runs),
    )


def differing(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Of each point's settings those in which the points differ."""
    names = dict.fromkeys(name for point in points for name in point.settings)
    kept = [n for n in names if len({repr(point.settings.get(n)) for point in points}) > 1]
    return [{name: point.settings[name] for name in kept if name in point.settings} for point in points]
