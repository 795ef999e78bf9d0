"""The demo: how many of 64 outputs does a learned mel filter bank of 32 bands need?

``make demo``: two minutes on two CPU cores. Prints a table, and draws ``runs/demo/demo.png``.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from dyn_lightning.data.synthetic_spectra import mel_weights
from dyn_lightning.sweep.progress import duration
from experiments.filter_bank.run import Job, run_one, summary, worker_pool
from experiments.filter_bank.study import FIXED, OURS, READINGS, Outcome, Schedule, paper
from experiments.filter_bank.table import (
    N_BANDS,
    Record,
    colour_of,
    draw_sizes,
    groups,
    plain_text,
    rows,
    shade_search,
)

SYSTEMS = (OURS, FIXED, paper(0.5), paper(1.0))
COLUMNS = ("reading", "system", "K of 64", "relative L1, mean", "FLOPs per call", "of 64 wide", "of fixed 32")


def draw_losses(axes: Axes, runs: Mapping[str, Sequence[Record]]) -> None:
    """Training error relative to the targets over the steps."""
    for name, of_name in runs.items():
        for i, record in enumerate(of_name):
            axes.plot(
                record["history"]["step"],
                record["history"]["relative_l1"],
                color=colour_of(name, list(runs)),
                ls="--" if name.startswith("fixed") else "-",
                lw=1.0,
                zorder=3 if name == "ours" else 2,
                label=name if i == 0 else None,
            )
    shade_search(axes, next(iter(runs.values()))[0])
    axes.set_yscale("log")
    axes.set_ylabel("training L1 / mean target")


def draw_filters(axes: Axes, filters: Tensor, sample_rate: int = 16000) -> None:
    """Learned filters over the frequency, and the mel filters that they stand for, on a mel axis."""
    n_freqs = filters.shape[1]
    freq_hz = torch.linspace(0, sample_rate / 2, n_freqs)
    mel = 2595.0 * torch.log10(1.0 + freq_hz / 700.0)
    order = (filters.abs() @ mel / filters.abs().sum(1)).argsort()
    for i, row in enumerate(filters[order]):
        axes.fill_between(mel, row, color=("#0b6fb8", "#e69f00")[i % 2], alpha=0.45, lw=0)
    for row in mel_weights(n_freqs, N_BANDS, sample_rate).T:
        axes.plot(mel, row, color="black", lw=0.6, ls=":")
    ticks_hz = torch.tensor([0.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0])
    axes.set_xticks((2595.0 * torch.log10(1.0 + ticks_hz / 700.0)).tolist())
    axes.set_xticklabels(["0", ".25", ".5", "1", "2", "4", "8"])
    axes.set_xlim(0, float(mel[-1]))
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel("weight")


def demo_figure(outcomes: Sequence[Outcome], path: Path) -> None:
    """Sizes, losses and the learned filters, a row for each reading."""
    found = groups(o.record for o in outcomes)
    readings = list(dict.fromkeys(reading for reading, _ in found))
    canvas = Figure(figsize=(12.5, 3.1 * len(readings)), layout="constrained")
    FigureCanvasAgg(canvas)
    panels = canvas.subplots(len(readings), 3, squeeze=False)
    for (sizes, losses, filters), reading in zip(panels, readings, strict=True):
        runs = {name: of_name for (r, name), of_name in found.items() if r == reading}
        ours = next(
            o for o in outcomes if (o.record["config"]["reading"], o.record["config"]["name"]) == (reading, OURS.name)
        )
        draw_sizes(sizes, runs)
        sizes.set_ylabel(f"{reading}: outputs K")
        draw_losses(losses, runs)
        draw_filters(filters, ours.filters)
        kept, saved = (
            ours.record["kept"],
            100 * (1 - ours.record["flops_per_call"] / ours.record["flops_per_call_before"]),
        )
        sizes.annotate(
            f"{kept} of 64 kept: {saved:.0f} % fewer FLOPs",
            (ours.record["history"]["step"][-1], kept),
            xytext=(-4, -12),
            textcoords="offset points",
            ha="right",
            va="top",
            color=colour_of(OURS.name, ()),
        )
    for axes, title in zip(
        panels[0],
        ("size while training (search in grey)", "error while training", "filters of ours (dotted: mel)"),
        strict=True,
    ):
        axes.set_title(title)
    for axes, label in zip(panels[-1], ("optimiser step", "optimiser step", "frequency, kHz"), strict=True):
        axes.set_xlabel(label)
    panels[0][0].legend(fontsize="small", loc="lower left", facecolor="white", framealpha=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=110)


def main() -> None:
    """Trains, prints the table, and draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0, 1, …")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1), help="runs at a time")
    parser.add_argument("--figure", default="runs/demo/demo.png")
    args = parser.parse_args()
    schedule = Schedule()
    jobs: list[Job] = [
        (reading, system, seed, schedule) for seed in range(args.seeds) for system in SYSTEMS for reading in READINGS
    ]
    print(
        f"{len(jobs)} runs of {schedule.epochs * schedule.steps_per_epoch} steps, {args.processes} at a time",
        flush=True,
    )
    start = time.perf_counter()
    outcomes = []
    with worker_pool(args.processes) as pool:
        for outcome in pool.map(run_one, jobs):
            outcomes.append(outcome)
            taken = time.perf_counter() - start
            left = duration(taken * (len(jobs) - len(outcomes)) / len(outcomes))
            print(f"  {len(outcomes)} of {len(jobs)}: {summary(outcome.record)}; about {left} left", flush=True)
    records = [o.record for o in outcomes]
    print("\n" + plain_text(rows(records), COLUMNS))
    differences = [r["largest_relative_difference"] for r in records if r["largest_relative_difference"] is not None]
    print(f"Consolidated networks differ from the trained ones by at most {max(differences):.1g} of their outputs.")
    print("The right size is 32 of 64: 50 % of the FLOPs. The paper reports 30 % saved.")
    demo_figure(outcomes, Path(args.figure))
    print(f"{time.perf_counter() - start:.0f} s; figure: {args.figure}")


if __name__ == "__main__":
    main()
