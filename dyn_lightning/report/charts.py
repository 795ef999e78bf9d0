"""The report's figures, drawn as wide as a column of a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from torch import Tensor

from dyn_lightning.data.score_files import ScoreTable
from dyn_lightning.inference.error_figures import det_figure
from dyn_lightning.inference.scoring import systems_of
from dyn_lightning.metrics.det import det_curve
from dyn_lightning.report.sources import Published
from dyn_lightning.report.studies import Study, per_of
from dyn_lightning.runs.figure_style import PALETTE, flops_scale, short_label
from dyn_lightning.runs.measures import title_of
from dyn_lightning.runs.statistics import Summary, pareto_set

WIDTH = 4.8
MOST_ROWS = 26
MOST_CURVES = 8
MARKERS = "osD^v<>Ph"
Sizes = Mapping[str, tuple[Summary, int]]


@dataclass(frozen=True)
class Chart:
    """A figure and the words that go with it.

    Attributes:
        figure: drawn.
        title: its short name.
        caption: what it shows, and what is to be known to read it.
        tips: gid of an artist → text that appears over it.
    """

    figure: Figure
    title: str
    caption: str
    tips: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SystemPoint:
    """A system's place in the figure of error over cost."""

    name: str
    family: str
    flops: Summary
    error: Summary


def points_of(study: Study, metric: str, unit: str | None = None) -> list[SystemPoint]:
    """Means over seeds of the systems in which a metric was measured; FLOPs of another count where its key is given."""
    found = []
    for system in study.systems:
        error, flops = system.over(lambda r: r.metric(metric)), system.over(lambda r: r.record.get(unit or study.unit))
        if error is not None and flops is not None:
            found.append(SystemPoint(system.name, system.family, flops, error))
    return found


def front_points(points: Sequence[SystemPoint]) -> list[SystemPoint]:
    """Those points than which none is both as cheap and as good, from the cheapest on."""
    places = [(point.error.mean, point.flops.mean) for point in points]
    first = {places[index]: index for index in reversed(pareto_set(places))}  # of equal ones the first
    return [points[index] for index in sorted(first.values(), key=lambda i: places[i][1])]


def front_chart(
    study: Study, metric: str, published: Sequence[Published] = (), unit: str | None = None
) -> Chart | None:
    """Error over FLOPs: a point a system, a line a family, and the front of all; None for less than two systems.

    Args:
        study: that is drawn.
        metric: the error.
        published: results that are laid over.
        unit: key of the records' FLOPs in the count of the published results, where that is not the records' own.
    """
    points, about = points_of(study, metric, unit), study.info(metric)
    title = title_of(metric, about)
    if len(points) < 2:
        return None
    scale, flops = flops_scale(study.full_flops if unit is None else max(p.flops.mean for p in points))
    per = per_of(study.unit) + ("" if unit is None else ", as published")
    shown = [p for p in published if p.flops_per_second is not None]
    families = list(dict.fromkeys(point.family for point in points))
    figure = Figure(figsize=(WIDTH, 3.1 + 0.11 * (len(families) + bool(shown))), layout="constrained")
    axes = figure.subplots()
    tips: dict[str, str] = {}
    front = front_points(points) if about.lower_is_better else []
    if len(front) > 1:
        axes.step(
            *_places(front, scale),
            where="post",
            color="0.8",
            linewidth=4.0,
            solid_capstyle="round",
            zorder=1,
            label="front",
        )
    for number, family in enumerate(families):
        own = sorted((p for p in points if p.family == family), key=lambda p: p.flops.mean)
        colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
        axes.plot(
            *_places(own, scale),
            color=colour,
            linewidth=1.2,
            marker=marker,
            markersize=5,
            label=short_label(family),
            zorder=2,
        )
        for point in own:
            gid = f"point-{len(tips)}"
            _draw_point(axes, point, scale, colour, marker, gid)
            tips[gid] = _tip(point, title, scale, f"{flops} per {per}")
    if shown:
        x = [p.flops_per_second / scale for p in shown if p.flops_per_second is not None]
        axes.plot(x, [p.error_percent for p in shown], "x", color="0.5", markersize=5, label="published", zorder=1.5)
    _style_cost_axis(axes, [p.flops.mean / scale for p in points])
    axes.set_xlabel(f"{flops} per {per}")
    axes.set_ylabel(title)
    if about.unit == "%":
        axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))
    axes.grid(color="0.92", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(fontsize="small", frameon=False, loc="outside upper left", ncols=2)
    return Chart(
        figure,
        f"{title} over {flops} per {per}",
        _front_caption(points, front, shown, counted_alike=unit is not None),
        tips,
    )


def _places(points: Sequence[SystemPoint], scale: float) -> tuple[list[float], list[float]]:
    return [point.flops.mean / scale for point in points], [point.error.mean for point in points]


def _draw_point(axes: Axes, point: SystemPoint, scale: float, colour: str, marker: str, gid: str) -> None:
    """A system's marker, which says its numbers, with the interval of its mean."""
    x = point.flops.mean / scale
    if point.error.low is not None and point.error.high is not None:
        axes.plot([x, x], [point.error.low, point.error.high], color=colour, linewidth=1.0, alpha=0.6, zorder=1.8)
        for end in (point.error.low, point.error.high):
            axes.plot([x], [end], "_", color=colour, markersize=5, alpha=0.6, zorder=1.8)
    axes.plot([x], [point.error.mean], marker, color=colour, markersize=6, zorder=3)[0].set_gid(gid)


def _tip(point: SystemPoint, title: str, scale: float, name: str) -> str:
    error = point.error
    interval = "" if error.low is None else f" [{error.low:.3g}, {error.high:.3g}]"
    seeds = f"{error.n} seed{'s' if error.n > 1 else ''}"
    flops = f"{point.flops.mean / scale:.4g} {name}"
    return f"{point.name}: {title} {error.mean:.3g}{interval}, {flops}, {seeds}"


def _front_caption(
    points: Sequence[SystemPoint], front: Sequence[SystemPoint], published: Sequence[Published], counted_alike: bool
) -> str:
    words = ["Means over seeds, a line for each family of systems."]
    if any(point.error.low is not None for point in points):
        words.append("Bars: 95 % interval of the mean (Student’s t).")
    if any(point.error.low is None for point in points):
        words.append("A point without a bar is a single run: how far seeds spread is not known.")
    if len(front) > 1:
        words.append("Broad grey line: the front, the lowest mean that is to be had at a cost or below.")
    if published:
        words.append("Crosses: published results on the same data, with FLOPs as their authors count them.")
        if counted_alike:
            words.append("All other points are of the same count here, and of that alone.")
        words += dict.fromkeys(p.note for p in published if p.note)
    return " ".join(words)


def _style_cost_axis(axes: Axes, costs: Sequence[float]) -> None:
    """Powers of two where costs differ much; else a plain axis."""
    if max(costs) < 1.5 * min(costs):
        axes.xaxis.set_major_locator(MaxNLocator(5))
        return
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def kept_charts(systems: Mapping[str, Sizes]) -> list[Chart]:
    """What each layer kept, of all systems in one figure where it does not become too long for that."""
    together = sum(len(sizes) + 1 for sizes in systems.values()) <= MOST_ROWS
    groups = [systems] if together and systems else [{name: sizes} for name, sizes in systems.items()]
    return [_kept_chart(group) for group in groups]


def _kept_chart(systems: Mapping[str, Sizes]) -> Chart:
    """A bar a learned size: the share of its elements that was kept, with the numbers; whiskers are ± sd."""
    n_rows = sum(len(sizes) + 1 for sizes in systems.values())
    figure = Figure(figsize=(WIDTH, 0.5 + 0.2 * n_rows), layout="constrained")
    axes = figure.subplots()
    ticks: dict[int, str] = {}
    row = 0
    for system, sizes in systems.items():
        axes.text(0, row + 0.1, short_label(system, 60), va="center", fontsize="small", weight="bold")
        for name, (kept, full) in sizes.items():
            row += 1
            ticks[row] = short_label(name)
            share = 100 * kept.mean / full
            axes.barh(row, 100, height=0.7, color="0.92")
            axes.barh(row, share, height=0.7, color=PALETTE[0])
            if kept.sd:
                axes.errorbar(share, row, xerr=100 * kept.sd / full, ecolor="black", elinewidth=0.8, capsize=1.5)
            axes.text(101.5, row, f"{kept.mean:.4g} / {full}", va="center", fontsize="small")
        row += 1
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize="small")
    axes.set(xlim=(0, 120), ylim=(n_rows - 0.4, -0.6), xticks=range(0, 101, 25))
    axes.set_xlabel("% of the elements that is kept")
    axes.tick_params("y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    counts = [kept.n for sizes in systems.values() for kept, _ in sizes.values()]
    caption = f"Elements that each learned size kept of those at full size: {', '.join(systems)}."
    if max(counts) > 1:
        caption += " Means over seeds; whiskers: ± standard deviation."
    return Chart(figure, f"What each layer kept: {', '.join(systems)}", caption)


def det_charts(scores: Mapping[str, ScoreTable]) -> list[Chart]:
    """DET curves: of one score file all attacks and each alone, of several all attacks of each.

    Of more than ``MOST_CURVES`` files, each figure has some, and the first beside them to compare them with.
    """
    if len(scores) == 1:
        ((label, table),) = scores.items()
        curves = {"all attacks": det_curve(table.scores, table.targets)[:2]}
        for attack in systems_of(table):
            own = [s == attack or key == "bonafide" for s, key in zip(table.systems, table.keys, strict=True)]
            chosen = np.flatnonzero(own)
            curves[attack] = det_curve(table.scores[chosen], table.targets[chosen])[:2]
        return [_det_chart(curves, f"of {label}", "")]
    found = {short_label(label): det_curve(t.scores, t.targets)[:2] for label, t in scores.items()}
    if len(found) <= MOST_CURVES:
        return [_det_chart(found, "of each score file, all attacks", "")]
    first, *others = found
    groups = [others[i : i + MOST_CURVES - 1] for i in range(0, len(others), MOST_CURVES - 1)]
    return [
        _det_chart(
            {name: found[name] for name in (first, *group)},
            "of score files, all attacks, the first beside up to seven others",
            f", {i}",
        )
        for i, group in enumerate(groups, start=1)
    ]


def _det_chart(curves: Mapping[str, tuple[Tensor, Tensor]], of: str, number: str) -> Chart:
    columns = 4 if len(curves) > 8 or max(map(len, curves)) < 8 else 1
    rows = -(-len(curves) // columns)
    figure = det_figure(curves, (WIDTH, 4.1 + 0.16 * rows), "outside upper left", columns)
    caption = f"Detection error trade-off {of}, on axes of normal deviates. Nearer to the lower left is better."
    return Chart(figure, f"Detection error trade-off{number}", caption)
