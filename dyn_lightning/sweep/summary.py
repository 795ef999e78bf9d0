"""What a sweep came to, in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from dyn_lightning.runs.checks import UNITS
from dyn_lightning.sweep.file import Sweep, SweepRun
from dyn_lightning.sweep.runner import Outcome

STATES = ("finished", "failed", "stopped", "running elsewhere", "waiting")


def print_summary(sweep: Sweep, runs: Sequence[SweepRun], outcome: Outcome, console: Console) -> None:
    """Print one row a run: the best first by the file's metric, then those without it."""
    names = [p.name for p in sweep.parameters if len({repr(run.parameters[p.name]) for run in runs}) > 1]
    found = {run.key: (state_of(run, outcome), *_result(sweep, run, outcome)) for run in runs}
    sign = 1.0 if sweep.goal == "minimize" else -1.0
    table = Table("run", "state", *names, sweep.metric or "metric", "MFLOPs")
    for run in sorted(runs, key=lambda r: _order(found[r.key][1], sign)):
        state, score, flops = found[run.key]
        values = [
            f"{run.parameters[name]:.4g}" if _is_float(run.parameters[name]) else str(run.parameters[name])
            for name in names
        ]
        table.add_row(run.key, state, *values, _number(score), _number(None if flops is None else flops / 1e6))
    console.print(table)
    states = [state for state, _, _ in found.values()]
    console.print(", ".join(f"{states.count(s)} {s}" for s in STATES if s in states), highlight=False)


def state_of(run: SweepRun, outcome: Outcome) -> str:
    """One of :data:`STATES`."""
    if run.key in outcome.elsewhere:
        return "running elsewhere"
    line = outcome.latest.get(run.key)
    if line is None:
        return "waiting"
    event = str(line["event"])
    return "stopped" if event == "started" else event


def _result(sweep: Sweep, run: SweepRun, outcome: Outcome) -> tuple[float | None, float | None]:
    """(value of the metric, FLOPs) of a finished run, where it has them."""
    record: dict[str, Any] = (outcome.latest.get(run.key) or {}).get("record") or {}
    score = record.get("metrics", {}).get(sweep.metric)
    return score, next((record[unit] for unit in UNITS if record.get(unit) is not None), None)


def _order(score: float | None, sign: float) -> tuple[bool, float]:
    return score is None, 0.0 if score is None else sign * score


def _is_float(value: Any) -> bool:
    return isinstance(value, float)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
