"""Finished runs sorted: into studies of what may be compared, their systems, and families of systems."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dyn_lightning.metrics.info import MetricInfo
from dyn_lightning.runs.checks import unit_of
from dyn_lightning.runs.labels import flat, labels_of
from dyn_lightning.runs.latest import identity_of, latest_of_each, text_of, time_of
from dyn_lightning.runs.measures import info_of, is_judged_by, main_metrics
from dyn_lightning.runs.statistics import Summary, summarise

Record = Mapping[str, Any]
_NAMES = ("system", "name")
# " 25 %", "=0.25", ", λ ≥ 0.5" at the end of a name
_SETTING = re.compile(r"(?:,\s*\S{1,3}\s*[≥≤=<>]?|[\s_=-])\s*\d[\d.e+-]*\s*%?$")


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        record: as ``result_record`` makes it.
        place: file and line.
    """

    record: Record
    place: str

    def metric(self, name: str, metrics: str = "metrics") -> float | None:
        """A metric's value, times 100 where it is a rate; None where it was not measured."""
        value = self.record.get(metrics, {}).get(name)
        return None if value is None else info_of(name, [self.record]).scale * float(value)


@dataclass(frozen=True)
class System:
    """Runs of one system, by seed."""

    name: str
    runs: Sequence[Run]

    @property
    def family(self) -> str:
        """The system's name without the setting at its end: "learned 25 %" is of the family "learned"."""
        return _SETTING.sub("", self.name).strip() or self.name

    def over(self, value: Callable[[Run], float | None]) -> Summary | None:
        """Over the seeds."""
        return summarise(value(run) for run in self.runs)


@dataclass(frozen=True)
class Study:
    """Systems that may be compared: of one data set, in the same settings.

    Attributes:
        dataset: its name in the records.
        settings: what all of its runs share and other studies do not.
        unit: "flops_per_second" or "flops_per_call".
        systems: those that cost most first.
        metrics: those that figures and tables are of.
        full_flops: FLOPs of the network at full size; of the largest where there are several or records do not say.
        fixed_flops: FLOPs that no size governs; None where that is not known.
    """

    dataset: str
    settings: Mapping[str, object]
    unit: str
    systems: Sequence[System]
    metrics: Sequence[str]
    full_flops: float
    fixed_flops: float | None = None
    runs: Sequence[Run] = field(default=())

    def info(self, metric: str) -> MetricInfo:
        """What a metric is."""
        return info_of(metric, (run.record for run in self.runs))

    @property
    def main_metric(self) -> str | None:
        """By which networks are compared first, of those that are shown; None where the task says of none."""
        return next((name for name in self.metrics if self.info(name).is_main), None)

    @property
    def other_metrics(self) -> list[str]:
        """Beside a main metric, what else networks are judged by in tests, but for the loss."""
        if self.main_metric is None:
            return []
        records = [run.record for run in self.runs]
        known = dict.fromkeys(name for record in records for name in record["metrics"] if name.startswith("test"))
        return [
            name
            for name in known
            if name not in self.metrics and name.rpartition("/")[2] != "loss"
            if is_judged_by(name, records) and self.info(name).lower_is_better is not None
        ]

    @property
    def has_several_networks(self) -> bool:
        """Whether the runs' networks differ at full size, as far as their records say."""
        full = f"{self.unit}_full"
        return len({_full_flops(run.record, self.unit) for run in self.runs if run.record.get(full)}) > 1

    @property
    def published_unit(self) -> str | None:
        """Where records hold their FLOPs in the count of published results as well, the key of it."""
        unit = f"{self.unit}_published"
        return unit if any(run.record.get(unit) is not None for run in self.runs) else None

    def share(self, run: Run) -> float:
        """FLOPs in percent of the network at full size: the run's own, where the study has several networks."""
        return 100 * float(run.record[self.unit]) / self._fixed_and_full(run)[1]

    def learnable_share(self, run: Run) -> float | None:
        """The same of the FLOPs that sizes govern; None where those are not known, or there are none."""
        fixed, full = self._fixed_and_full(run)
        if fixed is None or not fixed < full:
            return None
        return 100 * (float(run.record[self.unit]) - fixed) / (full - fixed)

    def _fixed_and_full(self, run: Run) -> tuple[float | None, float]:
        named = run.record.get(f"{self.unit}_full")
        if isinstance(named, list):
            return float(named[0]), float(named[-1])
        return self.fixed_flops, self.full_flops if named is None else float(named)


def studies_of(runs: Sequence[Run], metrics: Sequence[str] = ()) -> list[Study]:
    """Group runs by data set and settings; those with most runs first.

    A run's system is what its configuration calls ``system`` or ``name``; without either, the name that ``fit --name``
    gave it, or else the settings in which it differs from the others of the data set. Where one system was run in
    several values of a setting, each value is a study of its own.

    Args:
        runs: of any number of files; of one configuration and seed the latest counts.
        metrics: those to show; None given: the EERs of tests, else of the validation, else all metrics.
    """
    groups: dict[tuple[str, str, bool], list[Run]] = {}
    for run in latest_runs(runs):
        named = any(key in run.record["config"] for key in _NAMES)
        groups.setdefault((run.record["dataset"], unit_of(run.record), named), []).append(run)
    found = []
    for (dataset, unit, named), members in groups.items():
        labels = [_name(run) for run in members] if named else _labels(members)
        whole = [(dict[str, Any](), list(zip(members, labels, strict=True)))]
        for settings, chosen in _by_settings(members, labels) if named else whole:
            found.append(_study(dataset, unit, settings, chosen, metrics))
    return sorted(found, key=lambda study: -len(study.runs))


def latest_runs(runs: Sequence[Run]) -> list[Run]:
    """The latest run of each configuration and seed."""
    return latest_of_each(runs, lambda run: identity_of(run.record), lambda run: time_of(run.record))


def per_of(unit: str) -> str:
    """What FLOPs are counted for, in words."""
    return "second of audio" if unit == "flops_per_second" else "call"


def _name(run: Run) -> str:
    config = run.record["config"]
    return str(next(config[key] for key in _NAMES if key in config))


def _labels(runs: Sequence[Run]) -> list[str]:
    return labels_of([run.record["config"] for run in runs], [run.record.get("name") for run in runs])


def _by_settings(runs: Sequence[Run], labels: Sequence[str]) -> list[tuple[dict[str, Any], list[tuple[Run, str]]]]:
    configs = [{k: v for k, v in flat(run.record["config"]).items() if k not in _NAMES} for run in runs]
    settings = []
    for key in dict.fromkeys(k for config in configs for k in config):
        values: dict[str, set[str]] = {}
        for label, config in zip(labels, configs, strict=True):
            values.setdefault(label, set()).add(text_of(config.get(key)))
        if any(len(found) > 1 for found in values.values()):
            settings.append(key)
    groups: dict[str, tuple[dict[str, object], list[tuple[Run, str]]]] = {}
    for run, label, config in zip(runs, labels, configs, strict=True):
        own = {key: config.get(key) for key in settings}
        groups.setdefault(text_of(own), (own, []))[1].append((run, label))
    return list(groups.values())


def _study(
    dataset: str,
    unit: str,
    settings: Mapping[str, Any],
    chosen: Sequence[tuple[Run, str]],
    metrics: Sequence[str],
) -> Study:
    runs = [run for run, _ in chosen]
    by_name: dict[str, list[Run]] = {}
    for run, label in chosen:
        by_name.setdefault(label, []).append(run)
    systems = [System(name, sorted(own, key=_seed)) for name, own in by_name.items()]
    # the first that a file names comes first, of those that cost the same to three digits
    systems.sort(key=lambda system: -float(f"{_mean_flops(system, unit):.3g}"))
    fixed = [
        float(f) for run in runs if run.record.get("widths") and (f := run.record.get(f"{unit}_fixed")) is not None
    ]
    return Study(
        dataset=dataset,
        settings=settings,
        unit=unit,
        systems=systems,
        metrics=_main_metrics(runs, metrics),
        full_flops=max(_full_flops(run.record, unit) for run in runs),
        fixed_flops=min(fixed, default=None),
        runs=runs,
    )


def _full_flops(record: Record, unit: str) -> float:
    """FLOPs at full size of the network that a run's was made of: ``<unit>_full``, a number or (fixed, full)."""
    full = record.get(f"{unit}_full") or record.get(f"{unit}_before") or record[unit]
    return float(full[-1] if isinstance(full, list) else full)


def _mean_flops(system: System, unit: str) -> float:
    return sum(float(run.record[unit]) for run in system.runs) / len(system.runs)


def _main_metrics(runs: Sequence[Run], wanted: Sequence[str]) -> list[str]:
    known = list(dict.fromkeys(k for run in runs for k, v in run.record["metrics"].items() if v is not None))
    if wanted:
        return [name for name in wanted if name in known]
    records = [run.record for run in runs]
    if main := main_metrics(known, records, "test") or main_metrics(known, records, "val"):
        return sorted(main, key=lambda name: (-_n_parts(name, known, records), name))  # that known in detail first
    return _judged(known, records)


def _n_parts(metric: str, known: Sequence[str], records: Sequence[Record]) -> int:
    """How many parts of its evaluation set a metric is known of as well."""
    stage, label = metric.rpartition("/")[0], info_of(metric, records).label
    same = [info_of(name, records) for name in known if name.rpartition("/")[0] == stage]
    return sum(about.label == label for about in same if about.group)


def _judged(known: Sequence[str], records: Sequence[Record]) -> list[str]:
    """The first few of those that a network is judged by: of a test, else of the validation; the loss where alone."""
    judged = [name for name in known if is_judged_by(name, records)]
    plain = [name for name in judged if name.split("/")[-1] != "loss"]
    tested = [name for name in plain if name.startswith("test/")]
    return list(tested or plain or judged or known)[:3]


def _seed(run: Run) -> float:
    seed = run.record.get("seed")
    return -1 if seed is None else int(seed)
