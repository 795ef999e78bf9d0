"""Tables and figures of the study of placement, from finished runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from dyn_lightning.files import write_atomically
from dyn_lightning.runs import read_runs
from dyn_lightning.runs.figure_style import PALETTE, save_figure
from experiments.cases import Case, least_share
from experiments.grid import case_of, error_of, first_of_tasks, flops_percent, runs_of, sizes_text, studies
from experiments.placement.systems import BUDGETS, PLACEMENTS
from experiments.study import markdown, mean_spread
from experiments.training import Record

HERE = Path(__file__).parent
MARKERS = "ov^D"
FLOPS = "FLOPs % of full"


def case_with_settings(record: Record) -> Case:
    """The case that a run was of."""
    settings = {name: value for name, value in record["config"].items() if name not in ("system", "task")}
    return case_of(record)(**settings)


def rows(records: list[Record]) -> list[dict[str, Any]]:
    """The full network, then one row a budget and placement; where a budget is out of reach, the least that is not."""
    case = case_with_settings(records[0])
    found = [_row(case, "–", "full size", runs_of("full", records))]
    for share in BUDGETS[case.name]:
        for name, patterns in PLACEMENTS[case.name].items():
            asked, least = f"{100 * share:g}", least_share(case, patterns)
            row = _row(case, asked, name, runs_of(f"{name}, {asked} %", records))
            found.append(row if share > least else row | {FLOPS: f"out of reach: least {100 * least:.1f}"})
    return found


def _row(case: Case, asked: str, name: str, runs: list[Record]) -> dict[str, Any]:
    return {
        "budget %": asked,
        "dynamic": name,
        "seeds": len(runs),
        FLOPS: mean_spread(map(flops_percent, runs), 1),
        "parameters": mean_spread((r["parameters"] for r in runs), 0),
        "validation": mean_spread(error_of(r, "val") for r in runs),
        case.error: mean_spread(map(error_of, runs)),
        "sizes": sizes_text(runs),
    }


def figure(records: list[Record], path: Path) -> None:
    """Error over the budget, a line a placement: means with their standard deviations, and every run a small point."""
    case = case_with_settings(records[0])
    canvas = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = canvas.subplots()
    if full := [error_of(r) for r in runs_of("full", records)]:
        axes.axhline(float(np.mean(full)), color="black", linewidth=0.9, linestyle="--", label="full size")
    for number, (name, patterns) in enumerate(PLACEMENTS[case.name].items()):
        points = []
        for share in BUDGETS[case.name]:
            # Lines stand a little apart, so that those of one budget do not cover each other.
            at = 100 * share * 1.02 ** (number - 1.5)
            errors = [error_of(r) for r in runs_of(f"{name}, {100 * share:g} %", records)]
            axes.plot([at] * len(errors), errors, ".", color=PALETTE[number], alpha=0.35)
            if errors:
                points.append((at, np.mean(errors), np.std(errors, ddof=1) if len(errors) > 1 else 0.0))
        if points:
            x, y, deviation = np.array(points).T
            label = f"{name} (at least {100 * least_share(case, patterns):.0f} %)"
            axes.errorbar(x, y, deviation, label=label, color=PALETTE[number], marker=MARKERS[number], capsize=2.5)
    axes.set_xscale("log", base=2)
    axes.set_xticks([100 * share for share in BUDGETS[case.name]], [f"{100 * share:g}" for share in BUDGETS[case.name]])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="budget: FLOPs, % of full size", ylabel=case.error)
    axes.set_ylim(bottom=0)
    axes.grid(color="0.92", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    save_figure(canvas, path)


def write_tables(results: str | os.PathLike[str], folder: Path) -> None:
    """Write ``results.md`` and, for each task, ``results_<task>.png`` of the runs with the same data and settings that
    are most; print the tables.
    """
    found = studies(read_runs(results))
    note = "Checkpoint by the error on validation; mean ± standard deviation over seeds.\n"
    text = "\n".join(f"{head}\n{note}\n{markdown(rows(records))}" for head, records in found.items())
    print(text)
    write_atomically(folder / "results.md", text.encode())
    for task, records in first_of_tasks(found).items():
        figure(records, folder / f"results_{task}.png")


if __name__ == "__main__":
    write_tables(HERE / "results.jsonl", HERE)
