"""Tables and figures of the study of β and λ_min, from finished runs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from dyn_lightning.files import write_atomically
from dyn_lightning.runs import read_runs
from dyn_lightning.runs.figure_style import PALETTE, save_figure
from experiments.grid import case_of, error_of, first_of_tasks, flops_percent, runs_of, sizes_text, studies
from experiments.sensitivity.surface import TERMS, Surface, fit_surface
from experiments.study import markdown, mean_spread
from experiments.training import Record

HERE = Path(__file__).parent
FACTORS = {"beta": "β", "lam_min": "λ_min"}
Value = Callable[[Record], float]


def grid_of(records: Iterable[Record]) -> list[Record]:
    """The runs by the paper's procedure, by β and λ_min."""
    return sorted((r for r in records if r["beta"] is not None), key=lambda r: (r["beta"], r["lam_min"], r["seed"]))


def budgets_of(records: Iterable[Record]) -> list[Record]:
    """The runs with a budget, the greatest first."""
    return sorted((r for r in records if r["share"] is not None), key=lambda r: (-r["share"], r["seed"]))


def rows(records: list[Record]) -> list[dict[str, Any]]:
    """One row a system: the full network, budgets, then the grid."""
    plain = [r for r in records if r["beta"] is None and r["share"] is None]
    ordered = dict.fromkeys(r["config"]["system"] for r in (*plain, *budgets_of(records), *grid_of(records)))
    found = []
    for name in ordered:
        runs = runs_of(name, records)
        found.append(
            {
                "system": name,
                "seeds": len(runs),
                "FLOPs % of full": mean_spread(map(flops_percent, runs), 1),
                "validation": mean_spread(error_of(r, "val") for r in runs),
                case_of(runs[0]).error: mean_spread(map(error_of, runs)),
                "sizes": sizes_text(runs),
            }
        )
    return found


def different(records: Iterable[Record]) -> int:
    """How many runs differ in what came out: where λ never comes down to λ_min, λ_min changes nothing of a run."""
    return len({(r["seed"], r["beta"], json.dumps([r["metrics"], r["widths"]], sort_keys=True)) for r in records})


def main_effects(records: list[Record]) -> list[dict[str, Any]]:
    """One row a level of β and of λ_min: means over the levels of the other, then over seeds.

    “±” is the standard deviation of these means over seeds.
    """
    found = []
    for factor, label in FACTORS.items():
        for level in sorted({r[factor] for r in records}):
            runs = [r for r in records if r[factor] == level]
            found.append(
                {
                    "factor": label,
                    "level": f"{level:g}",
                    "runs": len(runs),
                    case_of(runs[0]).error: mean_spread(_by_seed(runs, error_of)),
                    "FLOPs % of full": mean_spread(_by_seed(runs, flops_percent), 1),
                }
            )
    return found


def _by_seed(records: Sequence[Record], value: Value) -> list[float]:
    seeds = sorted({r["seed"] for r in records})
    return [float(np.mean([value(r) for r in records if r["seed"] == seed])) for seed in seeds]


def responses(record: Record) -> dict[str, Value]:
    """Response in words → its value of a run, error first."""
    case = case_of(record)
    if case.logarithmic:
        return {f"log10 of {case.error}": lambda r: math.log10(error_of(r)), "FLOPs % of full": flops_percent}
    return {case.error: error_of, "FLOPs % of full": flops_percent}


def surfaces(records: list[Record]) -> dict[str, Surface]:
    """Response in words → its fitted surface; empty where the runs do not determine them."""
    beta, lam_min = ([r[factor] for r in records] for factor in FACTORS)
    if len(set(beta)) < 3 or len(set(lam_min)) < 3:
        return {}
    values = {name: [value(r) for r in records] for name, value in responses(records[0]).items()}
    return {name: fit_surface(beta, lam_min, found) for name, found in values.items()}


def coefficient_rows(found: dict[str, Surface]) -> list[dict[str, Any]]:
    """One row a response."""
    table = []
    for name, surface in found.items():
        row = {"response": name} | {t: f"{c:.2f}" for t, c in zip(TERMS, surface.coefficients, strict=True)}
        largest = surface.r_squared_largest
        row |= {"R²": f"{surface.r_squared:.2f}", "largest R²": "–" if math.isnan(largest) else f"{largest:.2f}"}
        table.append(row)
    return table


def figure(records: list[Record], path: Path) -> None:
    """Error and FLOPs over β and λ_min with the fitted surfaces; error over FLOPs, budgets beside the grid."""
    grid = grid_of(records)
    canvas = Figure(figsize=(14.4, 4.4), layout="constrained")
    panels = canvas.subplots(1, 3)
    for axes, (name, surface) in zip(panels, surfaces(grid).items(), strict=False):
        _draw_surface(canvas, axes, grid, name, surface)
    _draw_trade_off(panels[2], records)
    save_figure(canvas, path)


def _draw_surface(canvas: Figure, axes: Axes, records: list[Record], name: str, surface: Surface) -> None:
    """The fitted surface; every pair is a point in the colour of its mean, which stands above it."""
    value = responses(records[0])[name]
    pairs = sorted({(r["beta"], r["lam_min"]) for r in records})
    means = [np.mean([value(r) for r in records if (r["beta"], r["lam_min"]) == pair]) for pair in pairs]
    beta, lam_min = np.array(pairs).T
    margin = 2**0.35
    x = np.geomspace(beta.min() / margin, beta.max() * margin, 60)
    y = np.geomspace(lam_min.min() / margin, lam_min.max() * margin**1.4, 60)
    heights = surface(*np.meshgrid(x, y))
    low, high = min(heights.min(), *means), max(heights.max(), *means)
    levels = np.linspace(low, high if high > low else low + 1.0, 13)
    filled = axes.contourf(x, y, heights, levels, cmap="viridis")
    axes.contour(x, y, heights, levels, colors="white", linewidths=0.4)
    axes.scatter(beta, lam_min, c=means, cmap="viridis", vmin=levels[0], vmax=levels[-1], edgecolors="white", s=70)
    for at_x, at_y, mean in zip(beta, lam_min, means, strict=True):
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.75, "linewidth": 0}
        axes.annotate(
            f"{mean:.3g}", (at_x, at_y), (0, 7), textcoords="offset points", ha="center", fontsize="small", bbox=box
        )
    for set_scale, set_ticks, values in (
        (axes.set_xscale, axes.set_xticks, beta),
        (axes.set_yscale, axes.set_yticks, lam_min),
    ):
        set_scale("log", base=2)
        set_ticks(np.unique(values), [f"{v:g}" for v in np.unique(values)])
    axes.set(xlabel="β", ylabel="λ_min")
    axes.set_title(f"{name}\nfit: R² {surface.r_squared:.2f}", fontsize="medium")
    canvas.colorbar(filled, ax=axes, format="%.3g")


def _draw_trade_off(axes: Axes, records: list[Record]) -> None:
    """Error over FLOPs: a point a system, with the standard deviation over seeds of both.

    The paper's are rings, the larger the less λ_min, as pairs with different λ_min often come to the same.
    """
    grid, budgets = grid_of(records), budgets_of(records)
    for share in sorted({r["share"] for r in budgets}):
        axes.axvline(100 * share, color="0.6", linewidth=0.8, linestyle=":")
    lam_mins = sorted({r["lam_min"] for r in grid}, reverse=True)
    for colour, beta in zip(PALETTE[1:], sorted({r["beta"] for r in grid}), strict=False):
        for size, lam_min in enumerate(lam_mins):
            chosen = [r for r in grid if r["beta"] == beta and r["lam_min"] == lam_min]
            ring = {"marker": "o", "markersize": 3.5 + 3 * size, "markerfacecolor": "none", "linestyle": "none"}
            _draw_points(axes, chosen, f"paper, β {beta:g}" if size == 0 else None, color=colour, **ring)
    _draw_points(axes, budgets, "budget (dotted: asked for)", color=PALETTE[0], marker="D", linestyle="-")
    plain = [r for r in records if r["config"]["system"] == "full"]
    _draw_points(axes, plain, "full size", color="black", marker="s", linestyle="none")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    case = case_of(records[0])
    axes.set(xlabel="FLOPs, % of full size", ylabel=case.error)
    if case.logarithmic:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.grid(color="0.92", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    note = f"rings: λ_min {lam_mins[0]:g} (small)\nto {lam_mins[-1]:g} (large)" if lam_mins else None
    axes.legend(frameon=False, fontsize="small", title=note, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _draw_points(axes: Axes, records: list[Record], label: str | None, **style: Any) -> None:
    points = []
    for name in dict.fromkeys(r["config"]["system"] for r in records):
        runs = runs_of(name, records)
        both = np.array([[flops_percent(r), error_of(r)] for r in runs])
        points.append((*both.mean(0), *(both.std(0, ddof=1) if len(runs) > 1 else (0.0, 0.0))))
    if points:
        x, y, x_deviation, y_deviation = np.array(sorted(points)).T
        axes.errorbar(x, y, y_deviation, x_deviation, label=label, elinewidth=0.8, alpha=0.85, **style)


def write_tables(results: str | os.PathLike[str], folder: Path) -> None:
    """Write ``results.md`` and, for each task, ``results_<task>.png`` of the runs with the same data and settings that
    are most; print the tables.
    """
    found = studies(read_runs(results))
    parts = []
    for head, records in found.items():
        parts += [head, "Mean ± standard deviation over seeds.\n", markdown(rows(records))]
        if grid := grid_of(records):
            note = (
                f"Of the grid's {len(grid)} runs {different(grid)} are different: elsewhere λ_min is never reached.\n"
            )
            parts += [note, "Main effects:\n", markdown(main_effects(grid))]
            if fits := surfaces(grid):
                parts += [
                    "Coefficients of quadratic response surfaces, least squares over all runs, b = log2(β / 0.5), "
                    "l = log2(λ_min / 0.25). “Largest R²”: of the means of all pairs.\n",
                    markdown(coefficient_rows(fits)),
                ]
    text = "\n".join(parts)
    print(text)
    write_atomically(folder / "results.md", text.encode())
    for task, records in first_of_tasks(found).items():
        figure(records, folder / f"results_{task}.png")


if __name__ == "__main__":
    write_tables(HERE / "results.jsonl", HERE)
