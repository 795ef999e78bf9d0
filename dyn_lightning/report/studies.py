"""Finished runs sorted: into studies of what may be compared, their systems, and families of systems."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dyn_lightning.report.statistics import Summary, summarise

Record = Mapping[str, Any]
_NAMES = ("system", "name")
_EER = re.compile(r"test/(.+/)?eer")
_RATE = re.compile(r"eer(_.*)?|accuracy|error_rate|wer")
_LOWER_IS_BETTER = re.compile(r"eer|loss|[ml]ae|mse|l[12]|tdcf|wer|error", re.I)
# " 25 %", "=0.25", ", λ ≥ 0.5" at the end of a name
_SETTING = re.compile(r"(?:,\s*\S{1,3}\s*[≥≤=<>]?|[\s_=-])\s*\d[\d.e+-]*\s*%?$")
_LONGEST = 80


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
        return None if value is None else scale_of(name) * float(value)


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
    settings: Mapping[str, Any]
    unit: str
    systems: Sequence[System]
    metrics: Sequence[str]
    full_flops: float
    fixed_flops: float | None = None
    runs: Sequence[Run] = field(default=())

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

    A run's system is what its configuration calls ``system`` or ``name``; without either, the settings in which it
    differs from the others of the data set. Where one system was run in several values of a setting, each value is a
    study of its own.

    Args:
        runs: of any number of files; the same record twice counts once.
        metrics: those to show; None given: the EERs of tests, else of the validation, else all metrics.
    """
    groups: dict[tuple[str, str, bool], list[Run]] = {}
    for run in _distinct(runs):
        named = any(key in run.record["config"] for key in _NAMES)
        groups.setdefault((run.record["dataset"], unit_of(run.record), named), []).append(run)
    found = []
    for (dataset, unit, named), members in groups.items():
        labels = [_name(run) for run in members] if named else labels_of(members)
        whole = [(dict[str, Any](), list(zip(members, labels, strict=True)))]
        for settings, chosen in _by_settings(members, labels) if named else whole:
            found.append(_study(dataset, unit, settings, chosen, metrics))
    return sorted(found, key=lambda study: -len(study.runs))


def unit_of(record: Record) -> str:
    """Of the record's FLOPs."""
    return "flops_per_second" if "flops_per_second" in record else "flops_per_call"


def flops_scale(flops: float) -> tuple[float, str]:
    """Divisor and name in which a count of FLOPs is shown."""
    for divisor, name in ((1e10, "GFLOPs"), (1e5, "MFLOPs"), (1e2, "kFLOPs")):
        if flops >= divisor:
            return {"GFLOPs": 1e9, "MFLOPs": 1e6, "kFLOPs": 1e3}[name], name
    return 1.0, "FLOPs"


def per_of(unit: str) -> str:
    """What FLOPs are counted for, in words."""
    return "second of audio" if unit == "flops_per_second" else "call"


def is_test_eer(metric: str) -> bool:
    """Whether a metric is the EER of a test set."""
    return bool(_EER.fullmatch(metric))


def is_rate(metric: str) -> bool:
    """Whether a metric is shown in percent."""
    return bool(_RATE.fullmatch(metric.split("/")[-1]))


def scale_of(metric: str) -> float:
    """By which a metric is multiplied to be shown."""
    return 100.0 if is_rate(metric) else 1.0


def metric_label(metric: str) -> str:
    """``test/mixed/eer`` as "EER (%), test/mixed"."""
    stage, _, last = metric.rpartition("/")
    name = "EER (%)" if last == "eer" else f"{last.replace('_', ' ')} (%)" if is_rate(metric) else last
    return f"{name}, {stage}" if stage else name


def lower_is_better(metric: str) -> bool:
    """Whether a metric counts errors, as far as its name tells."""
    return bool(_LOWER_IS_BETTER.search(metric.split("/")[-1]))


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as dotted keys."""
    if isinstance(config, Mapping) and config:
        items: Iterator[tuple[Any, Any]] = iter(config.items())
    elif isinstance(config, list) and any(isinstance(value, Mapping) for value in config):
        items = enumerate(config)
    else:
        return {prefix: config}
    return {k: v for key, value in items for k, v in flat(value, f"{prefix}.{key}" if prefix else str(key)).items()}


def labels_of(runs: Sequence[Run]) -> list[str]:
    """For runs without names: the settings in which each differs from the others, seeds aside."""
    configs = [flat(run.record["config"]) for run in runs]
    keys = [key for key in dict.fromkeys(k for c in configs for k in c) if not key.endswith("seed")]
    differing = [key for key in keys if len({_text(c.get(key)) for c in configs}) > 1]
    short = [key.split(".")[-1] for key in differing]
    labels = []
    for run, config in zip(runs, configs, strict=True):
        parts = [
            f"{key if short.count(name) > 1 else name}={_plain(config[key])}"
            for key, name in zip(differing, short, strict=True)
            if key in config
        ]
        label = ", ".join(parts)
        labels.append(f"run {run.record['config_hash']}" if not label or len(label) > _LONGEST else label)
    return labels


def _distinct(runs: Sequence[Run]) -> list[Run]:
    return list({_text(run.record): run for run in reversed(runs)}.values())[::-1]


def _name(run: Run) -> str:
    config = run.record["config"]
    return str(next(config[key] for key in _NAMES if key in config))


def _by_settings(runs: Sequence[Run], labels: Sequence[str]) -> list[tuple[dict[str, Any], list[tuple[Run, str]]]]:
    configs = [{k: v for k, v in flat(run.record["config"]).items() if k not in _NAMES} for run in runs]
    settings = []
    for key in dict.fromkeys(k for config in configs for k in config):
        values: dict[str, set[str]] = {}
        for label, config in zip(labels, configs, strict=True):
            values.setdefault(label, set()).add(_text(config.get(key)))
        if any(len(found) > 1 for found in values.values()):
            settings.append(key)
    groups: dict[str, tuple[dict[str, Any], list[tuple[Run, str]]]] = {}
    for run, label, config in zip(runs, labels, configs, strict=True):
        own = {key: config.get(key) for key in settings}
        groups.setdefault(_text(own), (own, []))[1].append((run, label))
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
    tests = [name for name in known if is_test_eer(name)]
    if tests:  # that which is also known in detail first
        return sorted(tests, key=lambda name: (-sum(other.startswith(f"{name}_") for other in known), name))
    if "val/eer" in known:
        return ["val/eer"]
    plain = [name for name in known if name.split("/")[-1] not in ("loss", "threshold", "penalty")]
    tested = [name for name in plain if name.startswith("test/")]
    return (tested or plain or known)[:3]


def _seed(run: Run) -> float:
    seed = run.record.get("seed")
    return -1 if seed is None else int(seed)


def _plain(value: Any) -> str:
    return str(value).rsplit(".", 1)[-1] if isinstance(value, str) and re.fullmatch(r"[\w.]+", value) else _text(value)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
