"""The Pareto set of finished runs: those that no other one beats in both error and FLOPs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dyn_lightning.files import write_atomically
from dyn_lightning.metrics.info import MetricInfo
from dyn_lightning.runs.figure_style import save_figure
from dyn_lightning.runs.measures import info_by_name
from dyn_lightning.runs.statistics import pareto_set
from dyn_lightning.sweep.points import Point, differing, labels
from dyn_lightning.sweep.space import SweepError


def front_indices(points: Sequence[Point]) -> list[int]:
    """Indices of the Pareto set, cheapest first.

    Raises:
        SweepError: if there are no points, or points that cannot be compared.
    """
    if not points:
        raise SweepError("no finished run has this metric and a count of FLOPs: check --metric")
    if len({point.unit for point in points}) > 1:
        raise SweepError("some runs count FLOPs per second of audio and others per call: give those of one kind")
    datasets = sorted({point.dataset for point in points if point.dataset is not None})
    if len(datasets) > 1:
        listed = "".join(f"\n  {name}" for name in datasets)
        raise SweepError(
            f"the runs are of several data sets, which cannot be compared: choose by --dataset TEXT{listed}"
        )
    sign = -1.0 if _more_is_better(points) else 1.0
    return pareto_set([(sign * point.error, point.flops) for point in points])


def _about(points: Sequence[Point], metric: str) -> MetricInfo:
    return points[0].about or info_by_name(metric)


def _more_is_better(points: Sequence[Point]) -> bool:
    return points[0].about is not None and points[0].about.lower_is_better is False


def print_front(points: Sequence[Point], metric: str, console: Console) -> None:
    """Print the Pareto set as a table, cheapest first."""
    front, called = front_indices(points), labels(points)
    about = _about(points, metric)
    scale, unit = about.scale, f" {about.unit}".rstrip()
    table = Table("", f"{metric}{unit}", _axis(points[0].unit), "runs", "what")
    for number, index in enumerate(front, start=1):
        point = points[index]
        row = f"{number}", f"{scale * point.error:.4g}", f"{point.flops / 1e6:.4g}", f"{len(point.runs)}"
        table.add_row(*row, escape(called[index]))
    console.print(table)
    better = ", the more the better" if _more_is_better(points) else ""
    console.print(f"{len(front)} of {len(points)} are on the front{better}", highlight=False)


def write_front(points: Sequence[Point], metric: str, path: str | os.PathLike[str]) -> list[Path]:
    """Write the points as JSON, and a figure beside it; gives both paths.

    Raises:
        SweepError: as :func:`front_indices`; if the path does not end in ``.json``.
    """
    path = Path(path)
    if path.suffix != ".json":
        raise SweepError(f"{path}: must end in .json; the figure goes beside it")
    front, told, called = front_indices(points), differing(points), labels(points)

    def entry(index: int) -> dict[str, object]:
        point = points[index]
        return {
            metric: point.error,
            point.unit: point.flops,
            "label": called[index],
            "configuration": point.configuration,
            "settings": told[index],
            "runs": list(point.runs),
        }

    others = [index for index in range(len(points)) if index not in front]
    content = {
        "metric": metric,
        "unit": points[0].unit,
        "front": [entry(index) for index in front],
        "dominated": [entry(index) for index in others],
    }
    write_atomically(path, (json.dumps(content, indent=1, default=str) + "\n").encode())
    figure = path.with_suffix(".png")
    plot_front(points, metric, figure)
    return [path, figure]


def plot_front(points: Sequence[Point], metric: str, path: str | os.PathLike[str]) -> None:
    """Draw error over FLOPs, with the area that the front dominates; numbers are those of the table.

    Raises:
        SweepError: as :func:`front_indices`.
    """
    front = front_indices(points)
    about = _about(points, metric)
    scale = about.scale
    x = [point.flops / 1e6 for point in points]
    y = [scale * point.error for point in points]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    others = [index for index in range(len(points)) if index not in front]
    axes.scatter([x[i] for i in others], [y[i] for i in others], s=14, color="0.6", label="dominated")
    axes.step([x[i] for i in front], [y[i] for i in front], where="post", color="C0", linewidth=1.0)
    axes.scatter([x[i] for i in front], [y[i] for i in front], s=28, color="C0", label="Pareto set", zorder=3)
    for number, index in enumerate(front, start=1):
        place = x[index], y[index]
        axes.annotate(f"{number}", place, (5, 5), textcoords="offset points", fontsize="small", color="C0")
    axes.set_xlabel(_axis(points[0].unit))
    axes.set_ylabel(f"{metric} ({about.unit})" if about.unit else metric)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92", linewidth=0.6)
    figure.legend(fontsize="small", frameon=False, loc="outside upper left", ncols=2)
    save_figure(figure, path)


def _axis(unit: str) -> str:
    return {"flops_per_second": "MFLOPs/s of audio", "flops_per_call": "MFLOPs per call"}[unit]
