"""Sizes, cost and validation over the steps of one fit: read from where they were kept, and drawn."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dyn_lightning.data.audio import DatasetError
from dyn_lightning.errors import UserError
from dyn_lightning.metrics.info import MetricInfo
from dyn_lightning.module.checkpoint_io import read_checkpoint
from dyn_lightning.runs.checks import UNITS
from dyn_lightning.runs.figure_style import PALETTE, flops_scale, save_figure, short_label
from dyn_lightning.runs.measures import DECLARED, info_by_name, read_declared

Curve = tuple[Sequence[float], Sequence[float]]
"""Steps and values."""
WIDTHS_CAPTION = "what each learned size kept and what the network cost, over the steps of training."
ONLY = "K"  # the name of a size that a history does not name
MOST_LINES = 8
_LEGEND: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "fontsize": "small", "frameon": False}
# above the axes, where no line can run under it
MOST_STEPS = 160
MOST_KEPT = 64
_WIDTH = re.compile(r"(?:width/(?P<name>.+)/)?(?P<what>size|k|lam)")


@dataclass(frozen=True)
class FitHistory:
    """What one fit logged.

    Attributes:
        label: of the fit.
        widths: name → kept elements.
        full: name → elements at full size.
        flops: unit → FLOPs.
        errors: name → a validation metric, one by which networks are compared first.
        about: of these, name → what it is.
    """

    label: str
    widths: dict[str, Curve] = field(default_factory=dict)
    full: dict[str, float] = field(default_factory=dict)
    flops: dict[str, Curve] = field(default_factory=dict)
    errors: dict[str, Curve] = field(default_factory=dict)
    about: dict[str, MetricInfo] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything to see: a size or cost that changed, or a validation."""
        curves = [*self.widths.values(), *self.flops.values()]
        return bool(self.errors) or any(len(set(values)) > 1 for _, values in curves)


def history_of(
    columns: Mapping[str, Curve], label: str = "", declared: Mapping[str, MetricInfo] | None = None
) -> FitHistory:
    """Sort logged columns by what they are: ``width/<name>/size`` (or ``…/k``), ``complexity/<unit>``, ``val/….``.

    Args:
        columns: name → steps and values.
        label: of the fit.
        declared: what metrics are, where their task's declarations were kept; of others their names tell.
    """
    found = FitHistory(label)
    kinds: dict[str, dict[str, Curve]] = {}
    for key, curve in columns.items():
        if match := _WIDTH.fullmatch(key):
            kinds.setdefault(match["name"] or ONLY, {})[match["what"]] = curve
        elif key.startswith("complexity/") and key.removeprefix("complexity/") in UNITS:
            found.flops[key.removeprefix("complexity/")] = curve
        elif key.startswith("val/"):
            about = (declared or {}).get(key) or info_by_name(key)
            if about.is_main:
                found.errors[key], found.about[key] = curve, about
    for name, curves in kinds.items():
        if chosen := curves.get("size") or curves.get("k"):
            found.widths[name] = chosen
            found.full[name] = _full_size(curves, chosen)
    return found


def read_history(path: str | os.PathLike[str], label: str) -> FitHistory:
    """What a fit logged: from a ``metrics.csv`` of CSVLogger, or a checkpoint of a fit with ``ComplexityLogger``.

    Raises:
        DatasetError: the file cannot be read.
    """
    path = Path(path)
    columns = _csv_columns(path) if path.suffix == ".csv" else _checkpoint_columns(path)
    return history_of(columns, label, read_declared(path.with_name(DECLARED)))


def columns_of(history: Mapping[str, Any]) -> dict[str, Curve]:
    """Columns of a history that holds its steps as ``step``; values that are not there are left out."""
    steps = history.get("step") or []
    columns: dict[str, Curve] = {}
    for key, values in history.items():
        if key != "step":
            known = [(s, v) for s, v in zip(steps, values, strict=False) if v is not None]
            columns[key] = ([s for s, _ in known], [v for _, v in known])
    return columns


def brief_history(history: Mapping[str, Sequence[float]], most_steps: int = MOST_KEPT) -> dict[str, list[float]]:
    """What a record keeps of a history of ``ComplexityLogger``: sizes and FLOPs at the steps at which one changed.

    Args:
        history: ``step``, ``complexity/…`` and ``width/…`` → values.
        most_steps: of more changes, about as many are kept, evenly chosen; the first and the last step always are.

    Returns:
        ``step``, ``complexity/<unit>`` and ``width/<name>/size`` → values; empty where nothing changed.
    """
    costs = {f"complexity/{unit}" for unit in UNITS}
    keys = [key for key in history if key in costs or (key.startswith("width/") and key.endswith("/size"))]
    rows = list(zip(*(history[key] for key in keys), strict=True))
    changes = [place for place in range(1, len(rows)) if rows[place] != rows[place - 1]]
    if not changes:
        return {}
    stride = math.ceil(len(changes) / most_steps)
    places = sorted({0, *changes[::stride], changes[-1], len(rows) - 1})
    return {key: [_short(history[key][place]) for place in places] for key in ("step", *keys)}


def history_figure(history: FitHistory, size: tuple[float, float] = (4.8, 4.4)) -> Figure:
    """Sizes over the steps (lines; where there are many, kept shares as colours), FLOPs, and the validation.

    Args:
        history: with widths, FLOPs or both.
        size: width and height in inches; the height is that of widths and FLOPs.
    """
    parts = [part for part in ("widths", "flops", "errors") if getattr(history, part)]
    many = len(history.widths) > MOST_LINES
    heights = {"widths": max(2.0, 0.2 * len(history.widths)) if many else 1.9, "flops": 1.5, "errors": 1.1}
    ratios = [heights[part] for part in parts]
    figure = Figure(figsize=(size[0], size[1] * sum(ratios) / 3.3), layout="constrained")
    panels = figure.subplots(len(parts), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    for part, axes in zip(parts, panels, strict=True):
        if part == "widths" and many:
            _draw_shares(history, axes, figure)
        elif part == "widths":
            for number, (name, curve) in enumerate(history.widths.items()):
                _step(axes, curve, label=short_label(name), color=PALETTE[number % len(PALETTE)])
            axes.set_ylabel("kept elements")
            if list(history.widths) != [ONLY]:
                axes.legend(**_LEGEND, ncols=2)
        elif part == "flops":
            for unit, (steps, values) in history.flops.items():
                scale, name = flops_scale(max(values))
                _step(axes, (steps, [v / scale for v in values]), color="black")
                axes.set_ylabel(name + ("/s" if unit == "flops_per_second" else "/call"))
        else:
            _draw_errors(history, axes)
        if not (part == "widths" and many):
            if part != "errors":
                axes.set_ylim(bottom=0)
            axes.grid(color="0.92", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("optimiser step")
    return figure


def plot_history(history: Mapping[str, Sequence[float]], path: str | os.PathLike[str]) -> None:
    """Draw the sizes of all widths and the FLOPs over the steps, as PNG.

    Args:
        history: ``step``, ``complexity/<unit>`` and ``width/<name>/size`` → values (``ComplexityLogger``).
        path: of the figure; it is there as a whole or not at all.

    Raises:
        UserError: if the history has no steps.
    """
    if not history.get("step", ()):
        raise UserError("the history is empty: set log_every_n_steps below the number of steps")
    save_figure(history_figure(history_of(columns_of(history)), (7.0, 6.0)), path)


def _short(value: float) -> float:
    """A whole number without its ".0", which is most of a long history."""
    return int(value) if float(value).is_integer() else value


def _full_size(curves: Mapping[str, Curve], chosen: Curve) -> float:
    """N = K/λ where both are there; else the largest size seen, which is the first."""
    if curves.get("lam") and curves.get("k") and curves["lam"][1] and curves["lam"][1][0] > 0:
        return round(curves["k"][1][0] / curves["lam"][1][0])
    return max(chosen[1], default=1.0) or 1.0


def _csv_columns(path: Path) -> dict[str, Curve]:
    """Columns of numbers over the column ``step``; empty cells are left out."""
    columns: dict[str, tuple[list[float], list[float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from error
    for number, row in enumerate(rows, start=2):
        cells = {k: v for k, v in row.items() if k and k != "step" and v and row.get("step")}
        try:
            values = {key: float(text) for key, text in cells.items()}
            step = float(row.get("step") or 0)
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{path}, line {number}: is no row of numbers ({error}). Remove the line.") from error
        for key, value in values.items():
            if math.isfinite(value):
                own = columns.setdefault(key, ([], []))
                own[0].append(step)
                own[1].append(value)
    return {**columns}


def _checkpoint_columns(path: Path) -> dict[str, Curve]:
    """The history that ``ComplexityLogger`` left in a checkpoint; empty where it did not run."""
    try:
        content = read_checkpoint(path, mmap=True)
    except UserError as error:
        raise DatasetError(str(error)) from error
    kept = content.get("callbacks", {})
    return columns_of(kept.get("ComplexityLogger", {}).get("history", {}))


def _thinned(curve: Curve) -> Curve:
    """At most about ``MOST_STEPS`` of the points, the last among them."""
    steps, values = curve
    stride = math.ceil(len(steps) / MOST_STEPS) or 1
    places = sorted({*range(0, len(steps), stride), len(steps) - 1} - {-1})
    return [steps[i] for i in places], [values[i] for i in places]


def _step(axes: Axes, curve: Curve, **style: Any) -> None:
    axes.step(*_thinned(curve), where="post", **style)


def _draw_errors(history: FitHistory, axes: Axes) -> None:
    """A line for each metric of the validation."""
    about = {name: history.about.get(name) or info_by_name(name) for name in history.errors}
    for number, (name, (steps, values)) in enumerate(history.errors.items()):
        scaled = [about[name].scale * v for v in values]
        axes.plot(*_thinned((steps, scaled)), color=PALETTE[number % len(PALETTE)], label=name)
    axes.set_ylabel(", ".join(dict.fromkeys(one.title for one in about.values())))
    axes.legend(**_LEGEND, ncols=2)


def _draw_shares(history: FitHistory, axes: Axes, figure: Figure) -> None:
    """A row of colours a width: the share of its elements that is kept, over the steps."""
    names = list(history.widths)
    steps = sorted({step for curve in history.widths.values() for step in _thinned(curve)[0]})
    shares = np.ones((len(names), len(steps)))
    for row, name in enumerate(names):
        own_steps, values = history.widths[name]
        places = np.searchsorted(own_steps, steps, side="right").clip(1) - 1
        shares[row] = np.asarray(values)[places] / history.full[name]
    edges = [*steps, 2 * steps[-1] - steps[-2] if len(steps) > 1 else steps[-1] + 1]
    mesh = axes.pcolormesh(edges, np.arange(len(names) + 1), shares, cmap="viridis", vmin=0, vmax=1, rasterized=True)
    axes.set_yticks(np.arange(len(names)) + 0.5, [short_label(name) for name in names], fontsize="small")
    axes.invert_yaxis()
    figure.colorbar(mesh, ax=axes, location="top", shrink=0.7, aspect=30, label="share of the elements that is kept")
