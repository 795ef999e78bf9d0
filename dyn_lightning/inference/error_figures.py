"""Figures of detection errors, as PNG."""

from __future__ import annotations

import os
from collections.abc import Mapping
from statistics import NormalDist
from typing import Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from dyn_lightning.runs.figure_style import PALETTE, save_figure

DET_LIMITS = (5e-4, 0.6)
_DET_TICKS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
_FINEST = 0.004  # normal deviates


def plot_det(curves: Mapping[str, tuple[Tensor, Tensor]], path: str | os.PathLike[str]) -> None:
    """Write the figure of detection errors as PNG, see :func:`det_figure`."""
    save_figure(det_figure(curves), path)


def det_figure(
    curves: Mapping[str, tuple[Tensor, Tensor]],
    size: tuple[float, float] = (5.6, 4.4),
    legend: Literal["outside right center", "outside upper left"] = "outside right center",
    columns: int = 1,
) -> Figure:
    """Draw misses over false alarms on axes of normal deviates, on which normal scores give straight lines.

    Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997. Rates outside of
    :data:`DET_LIMITS` lie on the edge.

    Args:
        curves: label → (p_miss, p_false_alarm), see ``det_curve``; the first is drawn thicker.
        size: width and height in inches.
        legend: its place.
        columns: of the legend.

    Raises:
        ValueError: if there is no curve.
    """
    if not curves:
        raise ValueError("there is no curve to draw")
    probit = NormalDist().inv_cdf
    figure = Figure(figsize=size, layout="compressed")
    axes = figure.subplots()
    low, high = (probit(limit) for limit in DET_LIMITS)
    axes.plot([low, high], [low, high], color="0.8", linewidth=0.8)
    for number, (label, (p_miss, p_false_alarm)) in enumerate(curves.items()):
        y, x = (torch.special.ndtri(rate.double().clamp(*DET_LIMITS)).numpy() for rate in (p_miss, p_false_alarm))
        style = "-" if number <= len(PALETTE) else "--"
        colour = "black" if number == 0 else PALETTE[(number - 1) % len(PALETTE)]
        # Steps finer than can be seen would make a figure of lines as large as the scores.
        moved = np.diff(np.round(np.stack([x, y]) / _FINEST), axis=1, prepend=np.nan).any(axis=0)
        width = 2.0 if number == 0 else 1.0
        axes.plot(x[moved], y[moved], style, label=label, color=colour, linewidth=width)
    ticks = [probit(rate) for rate in _DET_TICKS]
    names = [f"{100 * rate:g}" for rate in _DET_TICKS]
    axes.set(xlim=(low, high), ylim=(low, high), xticks=ticks, yticks=ticks, aspect="equal")
    axes.set(xticklabels=names, yticklabels=names, xlabel="false alarms: spoofs accepted (%)")
    axes.set_ylabel("misses: bona fide rejected (%)")
    axes.grid(color="0.92", linewidth=0.6)
    figure.legend(fontsize="small", frameon=False, loc=legend, ncols=columns)
    return figure


def plot_by_system(
    rates: Mapping[str, float],
    path: str | os.PathLike[str],
    *,
    intervals: Mapping[str, tuple[float, float]],
    pooled: float,
) -> None:
    """Draw the equal error rate of each attack as a bar with its interval, and that of all together as a line.

    Args:
        rates: system → EER in [0, 1].
        path: of the figure.
        intervals: system → (low, high).
        pooled: EER of all attacks together.

    Raises:
        ValueError: if there is no attack.
    """
    if not rates:
        raise ValueError("there is no attack to draw")
    figure = Figure(figsize=(max(3.2, 1.4 + 0.45 * len(rates)), 3.2), layout="constrained")
    axes = figure.subplots()
    heights = 100 * np.array(list(rates.values()))
    bounds = 100 * np.array([intervals[system] for system in rates])
    # an interval of percentiles need not hold the figure itself
    errors = np.abs(np.stack([np.minimum(bounds[:, 0] - heights, 0), np.maximum(bounds[:, 1] - heights, 0)]))
    axes.bar(list(rates), heights, width=0.65, color="C0", yerr=errors, ecolor="0.25", capsize=2.5)
    axes.axhline(100 * pooled, color="black", linewidth=1.0, linestyle="--", label=f"all attacks: {100 * pooled:.2f} %")
    axes.set_ylabel("EER (%)")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    if max(map(len, rates)) > 4:
        axes.tick_params("x", rotation=45)
    figure.legend(fontsize="small", frameon=False, loc="outside upper left")
    save_figure(figure, path)
