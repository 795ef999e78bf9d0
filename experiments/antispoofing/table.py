"""The anti-spoofing study's tables and figure, from finished runs."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from dyn_lightning.files import write_atomically
from dyn_lightning.runs import read_runs
from dyn_lightning.runs.figure_style import save_figure
from experiments.study import markdown, mean_spread, optimiser
from experiments.training import Record

HERE = Path(__file__).parent
PUBLISHED = HERE / "published.csv"
KINDS = ("full", "learned", "uniform", "paper")
COLOURS = {"full": "black", "learned": "C0", "uniform": "C1"}
MARKERS = {"stack 0": "v", "stack 1": "^", "stack 2": "<", "stack 3": ">", "all stacks": "D"}
ATTACK = "test/eer_"


def names(records: list[Record]) -> list[str]:
    """Systems in the order of rows: full size, learned and uniform by cost, the paper's setting by stacks and λ_min."""

    def place(record: Record) -> tuple[Any, ...]:
        system, kind = record["config"]["system"], record["kind"]
        if kind == "paper":
            stacks, lam_min = system.split(", ")[1], float(system.split()[-1])
            return 2, stacks, -lam_min
        if kind == "full":
            return (0,)
        return 1, -float(system.split()[1]), KINDS.index(kind)

    return list(dict.fromkeys(r["config"]["system"] for r in sorted(records, key=place)))


def runs_of(name: str, records: list[Record]) -> list[Record]:
    """All runs of a system, by seed."""
    return sorted((r for r in records if r["config"]["system"] == name), key=lambda r: int(r["seed"]))


def percent(record: Record, name: str, metrics: str = "metrics") -> float | None:
    """A metric in percent, where it was measured."""
    value = record.get(metrics, {}).get(name)
    return None if value is None else 100 * float(value)


def rows(records: list[Record]) -> list[dict[str, Any]]:
    """One row a system; the full network has one for each choice of checkpoint."""
    found = []
    for name in names(records):
        runs = runs_of(name, records)
        found.append(_row(name, runs, "metrics"))
        if any("metrics_last" in r for r in runs):
            found.append(_row(f"{name}, last checkpoint", runs, "metrics_last"))
    return found


def _row(name: str, runs: list[Record], metrics: str) -> dict[str, Any]:
    def over(value: Callable[[Record], float | None], digits: int = 2) -> str:
        return mean_spread(map(value, runs), digits)

    low, high = (100 * np.mean([r["eer_interval"][end] for r in runs]) for end in (0, 1))
    row = {
        "system": name,
        "seeds": len(runs),
        "FLOPs % of full": over(lambda r: 100 * r["flops_per_second"] / r["flops_per_second_full"], 1),
        "MFLOPs/s": over(lambda r: r["flops_per_second"] / 1e6, 1),
        "parameters": over(lambda r: r["parameters"], 0),
        "dev EER %": over(lambda r: percent(r, "val/eer", metrics), 1),
        "eval EER %": over(lambda r: percent(r, "test/eer", metrics), 1),
        "95 % interval": f"{low:.1f} to {high:.1f}" if metrics == "metrics" else "–",
    }
    if any("test/min_tdcf" in r["metrics"] for r in runs):
        row["min t-DCF"] = over(lambda r: r[metrics].get("test/min_tdcf"), 4)
    row["training s"] = over(lambda r: None if r["resumed"] else r["wall_time_s"], 0)
    return row


def rows_by_attack(records: list[Record]) -> list[dict[str, Any]]:
    """EER on eval in percent of each attack against all bona fide utterances, one row a system."""
    attacks = sorted({key.removeprefix(ATTACK) for r in records for key in r["metrics"] if key.startswith(ATTACK)})
    found = []
    for name in names(records):
        runs = runs_of(name, records)
        cells = {a: mean_spread((percent(r, ATTACK + a) for r in runs), 1) for a in attacks}
        found.append({"system": name, "seeds": len(runs), **cells})
    return found


def rows_of_sizes(records: list[Record]) -> list[dict[str, Any]]:
    """Sizes that were learned, one row a run: each stack's residual width, and its blocks' inner widths in brackets."""
    found = []
    for name in names(records):
        for run in runs_of(name, records):
            if run["widths"]:
                cells = {f"stack {i}": _stack_sizes(run["widths"], i) for i in range(4)}
                embedding = run["widths"].get("resnet-embedding")
                cells["embedding"] = "–" if embedding is None else str(embedding[0])
                found.append({"system": name, "seed": run["seed"], **cells})
    return found


def _stack_sizes(widths: dict[str, list[int]], stack: int) -> str:
    residual = widths.get("resnet-stem" if stack == 0 else f"resnet-stacks-{stack}-0-conv2")
    prefix = f"resnet-stacks-{stack}-"
    inner = [str(kept) for name, (kept, _) in sorted(widths.items()) if name.startswith(prefix) and "conv1" in name]
    return "–" if residual is None else f"{residual[0]} ({' '.join(inner)})"


def figure(records: list[Record], path: Path) -> None:
    """EER on eval over FLOPs/s: means with standard deviations; published points only over the published corpus."""
    canvas = Figure(figsize=(7.4, 4.6), layout="constrained")
    axes = canvas.subplots()
    full = [percent(r, "test/eer") or 0.0 for r in records if r["kind"] == "full"]
    if full:
        axes.axhline(float(np.mean(full)), color="0.75", linewidth=0.8, linestyle="--")
    for kind, colour in COLOURS.items():
        chosen = [r for r in records if r["kind"] == kind]
        line = "none" if kind == "full" else "-"
        _draw(axes, chosen, label=kind, color=colour, marker="s" if kind == "full" else "o", linestyle=line)
    for stacks, marker in MARKERS.items():
        chosen = [r for r in records if r["kind"] == "paper" and f", {stacks}," in r["config"]["system"]]
        style = {"color": "C2", "marker": marker, "linestyle": "none", "alpha": 0.8, "markersize": 5}
        _draw(axes, chosen, label=f"paper, {stacks}", **style)
    if all(r["published_corpus"] for r in records):
        _draw_published(axes)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("MFLOPs per second of audio")
    axes.set_ylabel("EER on eval (%)")
    axes.set_ylim(bottom=0)
    axes.grid(color="0.92", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    canvas.legend(fontsize="small", frameon=False, loc="outside right upper")
    save_figure(canvas, path)


def _draw(axes: Axes, records: list[Record], label: str, **style: Any) -> None:
    """One point a system: its mean, with its runs and their standard deviation where there are several seeds."""
    points = []
    for name in names(records):
        runs = runs_of(name, records)
        rates = [percent(r, "test/eer") or 0.0 for r in runs]
        flops = [r["flops_per_second"] / 1e6 for r in runs]
        points.append((np.mean(flops), np.mean(rates), np.std(rates, ddof=1) if len(rates) > 1 else 0.0))
        if len(rates) > 1:
            axes.scatter(flops, rates, s=9, color=style["color"], alpha=0.45, linewidths=0)
    if points:
        x, y, deviation = np.array(sorted(points)).T
        axes.errorbar(x, y, yerr=deviation if deviation.any() else None, label=label, capsize=2.5, **style)


def _draw_published(axes: Axes) -> None:
    with PUBLISHED.open(newline="") as file:
        points = [(1e3 * float(r["gflops"]), float(r["eer_percent"])) for r in csv.DictReader(file) if r["gflops"]]
    x, y = zip(*points, strict=True)
    axes.plot(x, y, "x", color="0.5", label="published")


def studies(records: list[Record]) -> dict[str, list[Record]]:
    """Runs that may be compared, by their data and settings; those with most runs first."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        shared = {name: value for name, value in record["config"].items() if name != "system"}
        found.setdefault((record["dataset"], json.dumps(shared, sort_keys=True)), []).append(record)
    return {_head(runs): runs for runs in sorted(found.values(), key=len, reverse=True)}


def _head(runs: list[Record]) -> str:
    config = runs[0]["config"]
    channels = "-".join(map(str, config["channels"]))
    mask = f"{config['freq_mask']} bands and {config['time_mask']} frames masked"
    return (
        f"## {runs[0]['dataset']}\n"
        f"Channels {channels} at full size, crops of {config['n_samples']:,} samples, {config['epochs']} epochs of "
        f"batches of {config['batch_size']}, {optimiser(config)}, normalisation “{config['normalisation']}”, "
        f"{mask}, class weights {config['spoof_weight']:g} (spoof) and {config['bonafide_weight']:g} (bona fide). "
        "Checkpoint by the EER on dev; mean ± standard deviation over seeds. The interval is what drawing other "
        "utterances does to one seed's EER (bootstrap; its ends are means over seeds).\n"
    )


def write_tables(results: str | os.PathLike[str], folder: Path) -> None:
    """Write ``results.md`` (tables for each data set and setting) and ``results.png`` (the first), and print them."""
    found = studies(read_runs(results))
    parts = []
    for head, records in found.items():
        parts += [head, markdown(rows(records)), "EER on eval in %, each attack against all bona fide utterances:\n"]
        parts.append(markdown(rows_by_attack(records)))
        if sizes := rows_of_sizes(records):
            parts += ["Sizes that were learned (the inner sizes of the blocks in brackets):\n", markdown(sizes)]
    text = "\n".join(parts)
    print(text)
    write_atomically(folder / "results.md", text.encode())
    if found:
        figure(next(iter(found.values())), folder / "results.png")


if __name__ == "__main__":
    write_tables(HERE / "results.jsonl", HERE)
