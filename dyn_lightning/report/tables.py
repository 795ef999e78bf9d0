"""The report's tables: which rows and columns there are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dyn_lightning.data.score_files import ScoreTable
from dyn_lightning.inference.scoring import EER_CONVENTION
from dyn_lightning.metrics.eer import eer
from dyn_lightning.metrics.eer_by_system import eer_by_system
from dyn_lightning.metrics.info import EER_INFO
from dyn_lightning.report.studies import Run, Study, System
from dyn_lightning.report.table import Cell, Column, Table, of_columns_used
from dyn_lightning.runs.figure_style import flops_scale
from dyn_lightning.runs.measures import title_of
from dyn_lightning.runs.statistics import Summary, summarise

# group → name of its file, what it is by in a caption, and how its numbers are shown
_GROUPS = {
    "snr_db": ("snr", "signal-to-noise ratio in dB", ".2f"),
    "attack": ("attacks", "attack, each against all bona fide utterances", ".1f"),
}
_NUMBER = re.compile(r"([<>]?=?)(-?\d+(?:\.\d+)?)")
_MADE_WITH = ("revision", "device", "platform", "threads")


def systems_table(study: Study) -> Table:
    """One row a system: its error, cost and size; another where its last checkpoint was measured as well."""
    scale, flops = flops_scale(study.full_flops)
    flops += "/s" if study.unit == "flops_per_second" else "/call"
    main = (study.main_metric or "").rpartition("/")[2]
    columns = [Column("system", "system"), Column("seeds", "seeds", "d")]
    columns += [replace(_metric(study, metric), summary=True, interval=True) for metric in study.metrics]
    columns += [
        *(_other(study, metric) for metric in study.other_metrics),
        Column(f"{main}_utterances_low", "over utterances: low", ".1f"),
        Column(f"{main}_utterances_high", "high", ".1f"),
        Column(study.unit, flops, "4", scale, summary=True),
        Column("percent_of_full", "% of full size", ".1f", summary=True),
        Column("percent_of_learnable", "% of learnable", ".1f", summary=True),
        Column(f"{study.unit}_paper", f"{flops}, as the paper counts", "4", scale, summary=True),
        Column("parameters", "parameters", ",.0f", summary=True),
        Column("wall_time_s", "training (s)", ",.0f", summary=True),
    ]
    rows = []
    for system in study.systems:
        rows.append(_system_row(study, system, "metrics"))
        if any("metrics_last" in run.record for run in system.runs):
            last = _system_row(study, system, "metrics_last")
            rows.append({**last, "system": f"{system.name}, last checkpoint"})
    caption = "Systems, those that cost most first."
    if any(len(system.runs) > 1 for system in study.systems):
        caption += " Mean ± standard deviation over seeds; in brackets the 95 % interval of the mean (Student’s t)."
    if any(f"{main}_utterances_low" in row for row in rows):
        caption += " Over utterances: the 95 % interval of what drawing other ones does to a run."
    return of_columns_used(Table("systems", caption, columns, rows))


def _system_row(study: Study, system: System, metrics: str) -> dict[str, Cell]:
    unit = study.unit
    row: dict[str, Cell] = {"system": system.name, "seeds": len(system.runs)}
    for metric in study.metrics:
        row[_key(study, metric)] = summarise(run.metric(metric, metrics) for run in system.runs)
    if study.main_metric is not None and metrics == "metrics":
        row |= _interval_over_utterances(system, study.main_metric, study.info(study.main_metric).scale)
    for metric in study.other_metrics:
        row[_other(study, metric).key] = summarise(run.metric(metric, metrics) for run in system.runs)
    row |= {
        unit: system.over(lambda run: run.record[unit]),
        "percent_of_full": system.over(study.share),
        "percent_of_learnable": system.over(study.learnable_share),
        f"{unit}_paper": system.over(lambda run: run.record.get(f"{unit}_paper")),
        "parameters": system.over(lambda run: run.record.get("parameters")),
        "wall_time_s": system.over(lambda run: None if run.record.get("resumed") else run.record.get("wall_time_s")),
    }
    return row


def _interval_over_utterances(system: System, metric: str, scale: float) -> dict[str, Cell]:
    """The mean over seeds of the ends of ``<metric>_interval``, where records have it."""
    name = metric.rpartition("/")[2]
    intervals = [run.record.get(f"{name}_interval") for run in system.runs]
    known = [found for found in intervals if isinstance(found, list) and len(found) == 2]
    ends = zip(("low", "high"), (0, 1), strict=True)
    return {f"{name}_utterances_{end}": scale * sum(f[i] for f in known) / len(known) for end, i in ends if known}


def _other(study: Study, metric: str) -> Column:
    """The column of a metric of tests that no figure is of."""
    about, stage = study.info(metric), metric.rpartition("/")[0]
    title = about.title if stage == "test" else title_of(metric, about)
    key = metric.removeprefix("test/").replace("/", "_") + ("_percent" if about.unit == "%" else "")
    return Column(key, title, ".2f" if about.unit == "%" else ".4f", summary=True)


def group_tables(study: Study) -> list[Table]:
    """Metrics of parts of the evaluation sets, as the tasks declare them: a table a metric, group and test set.

    Where there are any of tests, those of the validation are left out.
    """
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for metric in sorted({key for run in study.runs for key in run.record["metrics"]}):
        about = study.info(metric)
        if about.group:
            stage = metric.rpartition("/")[0]
            found.setdefault((about.group, about.title, stage), {})[about.member] = metric
    tested = {key: members for key, members in found.items() if key[2].split("/")[0] == "test"}
    order = [*_GROUPS, *dict.fromkeys(group for group, _, _ in found)]
    chosen = sorted((tested or found).items(), key=lambda item: (order.index(item[0][0]), item[0]))
    return [_group_table(study, *key, members) for key, members in chosen]


def _group_table(study: Study, group: str, title: str, stage: str, members: Mapping[str, str]) -> Table:
    name, by, spec = _GROUPS.get(group, (group, group.replace("_", " "), ".3g"))
    ordered = sorted(members, key=_place)
    columns = [Column("system", "system"), Column("seeds", "seeds", "d")]
    columns += [Column(member, member, spec, summary=True) for member in ordered]
    rows = [
        {
            "system": system.name,
            "seeds": len(system.runs),
            **{m: summarise(run.metric(members[m]) for run in system.runs) for m in ordered},
        }
        for system in study.systems
    ]
    several = any(len(system.runs) > 1 for system in study.systems)
    caption = f"{title} by {by}, {stage}" + (": mean ± standard deviation over seeds." if several else ".")
    own = [name] if title == EER_INFO.title else [name, title]
    file_name = "-".join(re.sub(r"[^\w.]+", "-", part).strip("-") for part in (*own, *stage.split("/")[1:]))
    return Table(file_name, caption, columns, rows)


def sizes_table(study: Study) -> Table:
    """What each layer kept, a row a system and size."""
    columns = [
        Column("system", "system"),
        Column("size", "size"),
        Column("kept", "kept", ".1f", summary=True),
        Column("full", "of", "d"),
        Column("percent", "%", ".0f"),
    ]
    rows: list[dict[str, Cell]] = []
    for system in study.systems:
        for name, (kept, full) in kept_sizes(system).items():
            row: dict[str, Cell] = {"system": system.name, "size": name, "kept": kept, "full": full}
            rows.append({**row, "percent": 100 * kept.mean / full})
    return Table("sizes", "Elements that each learned size kept: mean ± standard deviation over seeds.", columns, rows)


def kept_sizes(system: System) -> dict[str, tuple[Summary, int]]:
    """Name → (kept, full) of each learned size."""
    found: dict[str, tuple[list[float], int]] = {}
    for run in system.runs:
        for name, (kept, full) in run.record.get("widths", {}).items():
            found.setdefault(name, ([], full))[0].append(kept)
    return {name: (summary, full) for name, (kept, full) in found.items() if (summary := summarise(kept))}


def layers_table(report: Mapping[str, Any], name: str) -> Table:
    """One row a layer of an artifact's report: what it cost before and after."""
    unit = str(report.get("unit", "flops_per_call"))
    per = "s" if unit == "flops_per_second" else "call"
    columns = [Column("name", "layer"), Column("kind", "kind"), Column("role", "role")]
    for state, when in (("before", "full size"), ("after", "kept")):
        columns.append(Column(f"parameters_{state}", f"parameters, {when}", ",d"))
        columns.append(Column(f"{unit}_{state}", f"FLOPs/{per}, {when}", ",.0f"))
        columns.append(Column(f"percent_{state}", f"% of all, {when}", ".1f"))
    rows = [
        {**row, **{f"percent_{s}": _scaled(row.get(f"share_{s}"), 100) for s in ("before", "after")}}
        for row in report.get("layers", [])
    ]
    return of_columns_used(Table(name, "What each layer costs, at full size and as kept.", columns, rows))


def scores_table(scores: Mapping[str, ScoreTable]) -> Table:
    """One row a score file: EER of all attacks and of each, by the convention of the challenge."""
    columns = [
        Column("scores", "scores"),
        Column("n_bonafide", "bona fide", ",d"),
        Column("n_spoof", "spoofed", ",d"),
        Column("eer_percent", "EER (%)", ".2f"),
    ]
    rows: list[dict[str, Cell]] = []
    attacks: set[str] = set()
    for label, table in scores.items():
        targets = table.targets
        row: dict[str, Cell] = {
            "scores": label,
            "n_bonafide": int((targets == 1).sum()),
            "n_spoof": int((targets == 0).sum()),
            "eer_percent": 100 * eer(table.scores, targets, convention=EER_CONVENTION)[0],
        }
        by_attack = eer_by_system(table.scores, targets, table.systems, convention=EER_CONVENTION)
        attacks |= by_attack.keys()
        rows.append({**row, **{attack: 100 * rate for attack, rate in by_attack.items()}})
    columns += [Column(attack, attack, ".1f") for attack in sorted(attacks)]
    return Table("scores", "Score files: EER of all attacks together and of each alone.", columns, rows)


def runs_table(study: Study) -> Table:
    """One row a run."""
    columns = [Column("system", "system"), Column("seed", "seed", "d")]
    columns += [_metric(study, metric) for metric in study.metrics]
    columns += [
        Column("wall_time_s", "wall time (s)", ",.0f"),
        Column("resumed", "resumed"),
        Column("threads", "threads", "d"),
        Column("config_hash", "configuration"),
        Column("place", "record"),
    ]
    rows = [_run_row(study, system, run) for system in study.systems for run in system.runs]
    return of_columns_used(
        Table("runs", "Every run. The time of a resumed run is that of its last part.", columns, rows)
    )


def _run_row(study: Study, system: System, run: Run) -> dict[str, Cell]:
    record, resumed = run.record, run.record.get("resumed")
    return {
        "system": system.name,
        "seed": record.get("seed"),
        **{_key(study, metric): run.metric(metric) for metric in study.metrics},
        "wall_time_s": record.get("wall_time_s"),
        "resumed": None if resumed is None else "yes" if resumed else "no",
        "threads": record.get("threads"),
        "config_hash": record.get("config_hash") or None,
        "place": run.place,
    }


def versions_table(runs: Sequence[Run]) -> Table:
    """What how many runs were made with: versions of libraries, the code's revision, and the kind of machine."""
    counts: dict[tuple[tuple[str, str], ...], int] = {}
    for run in runs:
        versions = sorted((str(k), str(v)) for k, v in run.record.get("versions", {}).items())
        made_with = (*versions, *((key, str(run.record[key])) for key in _MADE_WITH if key in run.record))
        counts[made_with] = counts.get(made_with, 0) + 1
    names = [name for name in sorted({name for found in counts for name, _ in found}) if name not in _MADE_WITH]
    columns = [Column("runs", "runs", "d"), *(Column(name, name) for name in (*names, *_MADE_WITH))]
    rows: list[dict[str, Cell]] = [{"runs": n, **dict(found)} for found, n in counts.items() if found]
    return of_columns_used(Table("versions", "What the runs were made with.", columns, rows))


def commands_table(runs: Sequence[Run]) -> Table:
    """The commands that made the runs, each once."""
    counts = Counter(str(run.record["command"]) for run in runs if "command" in run.record)
    columns = [Column("runs", "runs", "d"), Column("command", "command")]
    rows: list[dict[str, Cell]] = [{"runs": n, "command": command} for command, n in counts.items()]
    return Table("commands", "Commands that made the runs.", columns, rows)


def _key(study: Study, metric: str) -> str:
    return metric.replace("/", "_") + ("_percent" if study.info(metric).unit == "%" else "")


def _metric(study: Study, metric: str) -> Column:
    about = study.info(metric)
    return Column(_key(study, metric), title_of(metric, about), ".2f" if about.unit == "%" else ".3g")


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


def _place(member: str) -> tuple[bool, float, str]:
    """ "<5" before "5-15" before ">=25"; what begins with no number by its name."""
    number = _NUMBER.match(member)
    return (number is None, float(number[2]) - 0.5 * (number[1] == "<") if number else 0.0, member)
