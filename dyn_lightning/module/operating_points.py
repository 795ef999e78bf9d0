"""Many networks from one checkpoint: the sizes that meet a budget, and what accuracy each budget buys.

The last elements of every size are given up first, whatever the budget, so a smaller network is a part of a larger
one, and one checkpoint holds them all. Only the statistics of batch normalisation have to be taken anew.
"""

from __future__ import annotations

import copy
import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dyn_lightning.costs.allocation import least_size, sizes_within
from dyn_lightning.costs.budgets import budget_in_flops, share_of_all, share_of_learnable
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.errors import SettingError
from dyn_lightning.module.evaluation import evaluate
from dyn_lightning.network.batch_norm import reestimate
from dyn_lightning.network.dynamic import DynamicNetwork
from dyn_lightning.tasks import Task

LEAST_SHARE = 1 / 64  # of what the sizes govern, down to which a curve goes


def sizes_for(
    dynamic: DynamicNetwork,
    *,
    flops_per_second: float | None = None,
    share: float | None = None,
    share_of_all: float | None = None,
) -> dict[str, int]:
    """Sizes next to the learned proportions, no larger than now, that meet a budget.

    Args:
        dynamic: a dynamic network in any state: searching, or with frozen sizes.
        flops_per_second: the budget, all that runs included (in the complexity's unit: per call, where no duration is
            known).
        share: instead, of the FLOPs that the sizes govern at full size.
        share_of_all: instead, of all FLOPs at full size.

    Raises:
        SettingError: unless exactly one budget is given, or if it is out of reach.
    """
    complexity = dynamic.complexity
    budget = budget_in_flops(complexity, share=share, share_of_all=share_of_all, flops_per_second=flops_per_second)
    now = complexity.sizes_now
    if complexity.flops_at(now) <= budget:
        return dict(now)
    return {name: min(size, now[name]) for name, size in sizes_within(dynamic, budget).items()}


def budgets(complexity: Complexity, points: int) -> list[float]:
    """Budgets from what the network costs now down to the least, what the sizes govern falling by one factor."""
    fixed, top = complexity.fixed_flops(), complexity.flops_at(complexity.sizes_now)
    least = complexity.flops_at({name: least_size(width) for name, width in complexity.widths.items()})
    low, high = max(least - fixed, LEAST_SHARE * complexity.learnable_flops()), top - fixed
    if points < 2 or low >= high:
        return [top]
    return [fixed + high * (low / high) ** (i / (points - 1)) for i in range(points)]


def accuracy_cost_curve(
    dynamic: DynamicNetwork,
    task: Task,
    batches: Iterable[Mapping[str, Any]],
    *,
    points: int = 8,
    statistics: Sequence[object] = (),
) -> list[dict[str, object]]:
    """Metrics of one dynamic network at several budgets; the network is left as it was.

    Args:
        dynamic: trained, in any state.
        task: its loss and metrics.
        batches: of the validation set; gone through once for each budget, so no iterator.
        points: how many budgets, from what the network costs now downwards.
        statistics: training inputs from which batch normalisation takes its statistics anew at each budget; none
            leaves them as they are.

    Returns:
        For each budget, largest first: ``budget``, what it costs (``flops_per_second`` or ``flops_per_call``),
        ``share`` of what the sizes govern, ``share_of_all``, ``parameters``, ``sizes`` and ``metrics``. Equal sizes
        come once.
    """
    rows: list[dict[str, object]] = []
    for budget in budgets(dynamic.complexity, points):
        network = copy.deepcopy(dynamic)
        sizes = sizes_for(network, flops_per_second=budget)
        if rows and rows[-1]["sizes"] == sizes:
            continue
        for name, width in network.widths.items():
            width.freeze(sizes[name])
        if statistics:
            reestimate(network, list(statistics))
        complexity = network.complexity
        flops = complexity.flops_at(sizes)
        rows.append(
            {
                "budget": budget,
                complexity.unit: flops,
                "share": share_of_learnable(complexity, sizes),
                "share_of_all": share_of_all(complexity, sizes),
                "parameters": complexity.parameters_at(sizes),
                "sizes": sizes,
                "metrics": evaluate(network, task, batches),
            }
        )
    return rows


def save_curve(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str], *, metric: str | None = None) -> str:
    """Write a curve as ``<path>.json`` and ``<path>.png``; gives the name of the metric that is drawn.

    Args:
        rows: what :func:`accuracy_cost_curve` gave.
        path: without suffix.
        metric: what is drawn; the first that the task measures but for a threshold, else the loss.

    Raises:
        SettingError: if there are no rows, or they lack the metric.
    """
    if not rows:
        raise SettingError("the curve has no points")
    known = rows[0]["metrics"]
    others = [name for name in known if name not in ("loss", "threshold")]
    metric = metric or (others or ["loss"])[0]
    if metric not in known:
        raise SettingError(f"metric: {metric} is none of {', '.join(known)}")
    unit = next(u for u in ("flops_per_second", "flops_per_call") if u in rows[0])
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([row[unit] / 1e6 for row in rows], [row["metrics"][metric] for row in rows], marker="o", color="black")
    axes.set_xscale("log")
    axes.set_xlabel("MFLOPs per second of audio" if unit == "flops_per_second" else "MFLOPs per call")
    axes.set_ylabel(metric)
    axes.grid(alpha=0.3, which="both")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        figure.savefig(f"{folder}/curve.png", dpi=120)
        finite = json.loads(json.dumps(list(rows)), parse_constant=lambda _: None)
        Path(folder, "curve.json").write_text(json.dumps(finite, indent=1, allow_nan=False) + "\n")
        for suffix in ("png", "json"):
            os.replace(f"{folder}/curve.{suffix}", f"{path}.{suffix}")
    return metric


def curve_table(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
    """A curve as lines of text."""
    unit = next(u for u in ("flops_per_second", "flops_per_call") if u in rows[0])
    label = "MFLOPs/s" if unit == "flops_per_second" else "MFLOPs/call"
    lines = [f"{label:>12}{'of all %':>10}{'of learnable %':>16}{'parameters':>12}{metric:>12}"]
    for row in rows:
        value = row["metrics"][metric]
        shown = f"{value:.5f}" if math.isfinite(value) else "none"
        shares = f"{100 * row['share_of_all']:10.2f}{100 * row['share']:16.2f}"
        lines.append(f"{row[unit] / 1e6:12.3f}{shares}{row['parameters']:12,}{shown:>12}")
    return "\n".join(lines)
