"""The table and the figure of the study on images, from finished runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dyn_lightning.files import write_atomically
from dyn_lightning.runs import read_runs
from dyn_lightning.runs.figure_style import PALETTE, save_figure
from experiments.digits.systems import BUDGETS
from experiments.study import markdown, mean_spread, optimiser
from experiments.training import Record

HERE = Path(__file__).parent
STYLES = {"full": ("black", "s"), "learned": (PALETTE[0], "o"), "uniform": (PALETTE[1], "^")}
"""Colour and marker of each kind of system."""


def percent(record: Record, name: str) -> float:
    """A metric in percent."""
    return 100 * float(record["metrics"][name])


def names(records: list[Record]) -> list[str]:
    """Systems by kind within each cost, the dearest first."""

    def place(record: Record) -> tuple[int, int]:
        share = record["flops_per_call"] / record["flops_per_call_full"]
        return round(2 * np.log2(share)) * -1, list(STYLES).index(record["kind"])

    return list(dict.fromkeys(r["config"]["system"] for r in sorted(records, key=place)))


def rows(records: list[Record]) -> list[dict[str, Any]]:
    """One row a system: means and standard deviations over seeds."""
    found = []
    for name in names(records):
        runs = sorted((r for r in records if r["config"]["system"] == name), key=lambda r: int(r["seed"]))

        def over(value: Callable[[Record], float], digits: int, runs: list[Record] = runs) -> str:
            return mean_spread(map(value, runs), digits)

        found.append(
            {
                "system": name,
                "seeds": len(runs),
                "FLOPs % of full": over(lambda r: 100 * r["flops_per_call"] / r["flops_per_call_full"], 1),
                "kFLOPs an image": over(lambda r: r["flops_per_call"] / 1e3, 1),
                "parameters": over(lambda r: r["parameters"], 0),
                "validation error %": over(lambda r: percent(r, "val/error_rate"), 2),
                "test error %": over(lambda r: percent(r, "test/error_rate"), 2),
                "channels": ", ".join(dict.fromkeys("/".join(map(str, r["channels"])) for r in runs)),
            }
        )
    return found


def figure(records: list[Record], path: Path) -> None:
    """Test error over FLOPs: every run a point, every system its mean with the standard deviation.

    Kinds stand a little apart, so that those of one cost do not cover each other.
    """
    canvas = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = canvas.subplots()
    full = records[0]["flops_per_call_full"] / 1e3
    for kind, (colour, marker) in STYLES.items():
        apart = {"learned": 1.05, "uniform": 1 / 1.05}.get(kind, 1.0)
        systems = [name for name in names(records) if any(_is(r, kind, name) for r in records)]
        means = []
        for name in systems:
            runs = [r for r in records if _is(r, kind, name)]
            flops = [apart * r["flops_per_call"] / 1e3 for r in runs]
            errors = [percent(r, "test/error_rate") for r in runs]
            axes.plot(flops, errors, marker, color=colour, alpha=0.3, markersize=4, linestyle="none")
            means.append((np.mean(flops), np.mean(errors), np.std(errors, ddof=1) if len(errors) > 1 else 0.0))
        if means:
            x, y, deviation = np.array(sorted(means)).T
            axes.errorbar(x, y, yerr=deviation, label=kind, color=colour, marker=marker, capsize=3)
    shares = (*BUDGETS.values(), 1.0)
    axes.set_xscale("log")
    axes.set_xticks([share * full for share in shares], [f"{share * full:.0f} ({100 * share:g} %)" for share in shares])
    axes.minorticks_off()
    axes.set_xlabel("kFLOPs per image (share of full size)")
    axes.set_ylabel("Test error (%)")
    axes.set_ylim(bottom=0)
    axes.grid(color="0.92", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    save_figure(canvas, path)


def _is(record: Record, kind: str, name: str) -> bool:
    return record["kind"] == kind and record["config"]["system"] == name


def studies(records: list[Record]) -> dict[str, list[Record]]:
    """Runs that may be compared, by their data and settings; those with most runs first."""
    found: dict[str, list[Record]] = {}
    for record in records:
        config = {name: value for name, value in record["config"].items() if name != "system"}
        found.setdefault(json.dumps([record["dataset"], config], sort_keys=True), []).append(record)
    return {_head(runs[0]): runs for runs in sorted(found.values(), key=len, reverse=True)}


def _head(record: Record) -> str:
    config = record["config"]
    return (
        f"## {record['dataset']}\n"
        f"{config['epochs']} epochs of batches of {config['batch_size']}, {optimiser(config)}. Checkpoint by the "
        "error on validation; mean ± standard deviation over seeds.\n"
    )


def write_tables(results: str | os.PathLike[str], folder: Path) -> None:
    """Write ``results.md`` (a table for each data set and setting) and ``results.png`` (the first), and print them."""
    found = studies(read_runs(results))
    text = "\n".join(f"{head}\n{markdown(rows(records))}" for head, records in found.items())
    print(text)
    write_atomically(folder / "results.md", text.encode())
    if found:
        figure(next(iter(found.values())), folder / "results.png")


if __name__ == "__main__":
    write_tables(HERE / "results.jsonl", HERE)
