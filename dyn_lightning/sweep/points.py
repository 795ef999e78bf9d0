"""Finished runs as points of error over FLOPs: from results files, from a sweep's journal, and from W&B."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from dyn_lightning.metrics.info import MetricInfo
from dyn_lightning.runs import config_hash
from dyn_lightning.runs.checks import UNITS, is_number, problem_of
from dyn_lightning.runs.labels import differing as differing_settings
from dyn_lightning.runs.labels import flat, labels_of
from dyn_lightning.runs.latest import identity_of, latest_of_each, time_of
from dyn_lightning.runs.measures import info_of, usual_metric
from dyn_lightning.runs.records import read_lines
from dyn_lightning.sweep.journal import JOURNAL
from dyn_lightning.sweep.space import SweepError

WANDB_PREFIX = "wandb:"
WANDB_RUN = "run"
"""Where ``fit`` keeps in W&B's configuration what tells a run apart: config, config_hash, seed and dataset."""
_SEED = "seed_everything"
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """What a run, or the runs of one configuration, came to.

    Attributes:
        error: value of the metric; of several runs the mean.
        flops: cost of the network, in ``unit``; of several runs the mean.
        unit: flops_per_second (of audio) or flops_per_call.
        configuration: hash of all that decides the outcome but the seed.
        dataset: name of the data set, where known.
        settings: dotted name → value.
        runs: where each run was found.
        name: that ``fit --name`` gave it, if any.
        about: what the metric is, where its record or its name tells.
    """

    error: float
    flops: float
    unit: str
    configuration: str
    dataset: str | None
    settings: Mapping[str, object]
    runs: tuple[str, ...]
    name: str | None = None
    about: MetricInfo | None = None


class Found(NamedTuple):
    """Points of finished runs, how many have no metric or no FLOPs, and how many records were made anew since."""

    points: list[Point]
    without: int
    left_out: int


class _Placed(NamedTuple):
    record: Record
    place: str


def read_points(sources: Iterable[str], metric: str) -> Found:
    """A point for every finished run that has the metric; of one configuration and seed the latest counts.

    Args:
        sources: files of ``fit --results``, folders or journals of ``dyn-lightning sweep``, and
            ``wandb:ENTITY/PROJECT`` or ``wandb:ENTITY/PROJECT/SWEEP``.
        metric: such as ``val/eer``.

    Raises:
        SweepError: for a source that is missing or holds no runs, and where W&B is not logged in to.
    """
    placed: list[_Placed] = []
    for source in sources:
        path = source.removeprefix(WANDB_PREFIX)
        placed += _wandb_records(path, metric) if source.startswith(WANDB_PREFIX) else _file_records(path)
    latest = latest_of_each(placed, lambda one: identity_of(one.record), lambda one: time_of(one.record))
    found = _points(latest, metric)
    points = [point for point in found if point is not None]
    return Found(points, len(found) - len(points), len(placed) - len(latest))


def metric_of(sources: Iterable[str]) -> str:
    """By which runs are compared where nobody says: what the records of files say that their task is judged by first.

    Raises:
        SweepError: for a source that is missing or holds no runs.
    """
    files = [source for source in sources if not source.startswith(WANDB_PREFIX)]
    return usual_metric([one.record for source in files for one in _file_records(source)])


def file_points(path: str | os.PathLike[str], metric: str) -> list[Point | None]:
    """Points of a file of results, or of a sweep's folder or journal; None for a run without the metric."""
    return _points(_file_records(path), metric)


def _file_records(path: str | os.PathLike[str]) -> list[_Placed]:
    path = Path(path)
    if path.is_dir():
        if not (path / JOURNAL).is_file():
            raise SweepError(f"{path}: is no folder of dyn-lightning sweep. Give one, or the file of fit --results")
        path = path / JOURNAL
    try:
        lines = read_lines(path)
    except (OSError, ValueError) as error:
        raise SweepError(f"{path}: cannot be read ({error})") from error
    latest = {str(line.get("run", number)): (number, line) for number, line in lines}
    found = []
    for number, line in latest.values():
        if line.get("event", "finished") != "finished":
            continue
        record = line if "event" not in line else line.get("record")
        known = isinstance(record, Mapping) and "metrics" in record
        problem = problem_of(record, needs=("metrics",)) if isinstance(record, Mapping) and known else "has no metrics"
        if problem or not isinstance(record, Mapping):
            raise SweepError(
                f"{path}, line {number}: {problem}. Give results of fit --results, or a sweep's folder, or remove the "
                "line"
            )
        found.append(_Placed(record, f"{path}:{number}"))
    return found


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
    return _points(_wandb_records(path, metric, api), metric)


def _wandb_records(path: str, metric: str, api: Any = None) -> list[_Placed]:
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
    return [
        _Placed(
            {
                **_described(run.config),
                "metrics": {metric: run.summary.get(metric)},
                "finished_utc": str(getattr(run, "created_at", "")),
                **{unit: run.summary.get(f"complexity/{unit}") for unit in UNITS},
            },
            f"{WANDB_PREFIX}{parts[0]}/{parts[1]}/{run.id}",
        )
        for run in runs
        if run.state == "finished"
    ]


def _described(config: Mapping[str, Any]) -> dict[str, object]:
    """What a record says of a run, by its configuration in W&B."""
    known = config.get(WANDB_RUN)
    if isinstance(known, Mapping) and isinstance(known.get("config_hash"), str):
        return {key: known.get(key) for key in ("config", "config_hash", "seed", "dataset", "name")}
    settings = _flat(config)
    others = {name: value for name, value in settings.items() if name != _SEED}
    return {"config": others, "config_hash": config_hash(others), "seed": settings.get(_SEED)}


def _points(placed: Iterable[_Placed], metric: str) -> list[Point | None]:
    return [_point(record, metric, place) for record, place in placed]


def _point(record: Record, metric: str, place: str) -> Point | None:
    error = record["metrics"].get(metric)
    unit = next((unit for unit in UNITS if is_number(record.get(unit))), None)
    if not is_number(error) or unit is None:
        return None
    config = record.get("config") or {}
    return Point(
        float(error),
        float(record[unit]),
        unit,
        configuration=record.get("config_hash") or config_hash(config),
        dataset=record.get("dataset"),
        settings={**_flat(config), _SEED: record.get("seed")},
        runs=(place,),
        name=record.get("name"),
        about=info_of(metric, [record]),
    )


def _flat(config: Mapping[str, Any]) -> dict[str, object]:
    return flat(config) if config else {}


def mean_over_seeds(points: Iterable[Point]) -> list[Point]:
    """One point for each configuration, at the mean of its runs: the luckiest seed wins nothing."""
    groups: dict[tuple[str | None, ...], list[Point]] = {}
    for point in points:
        groups.setdefault((point.configuration, point.dataset, point.unit, point.name), []).append(point)
    return [_mean(group) for group in groups.values()]


def _mean(group: Sequence[Point]) -> Point:
    return replace(
        group[0],
        error=fmean(point.error for point in group),
        flops=fmean(point.flops for point in group),
        settings={name: value for name, value in group[0].settings.items() if name != _SEED},
        runs=tuple(run for point in group for run in point.runs),
    )


def differing(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Of each point's settings those in which the points differ."""
    return differing_settings([point.settings for point in points])


def labels(points: Sequence[Point]) -> list[str]:
    """What each point is called; of single runs of one configuration with the seed behind it."""
    found = labels_of([point.settings for point in points], [point.name for point in points])
    several = {label for label in found if found.count(label) > 1}
    seeds = [point.settings.get(_SEED) for point in points]
    return [
        f"{label}, seed {seed}" if label in several and seed is not None else label
        for label, seed in zip(found, seeds, strict=True)
    ]
