"""The comparison's tables and figures, from finished runs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from dyn_lightning.files import write_atomically
from dyn_lightning.runs import read_runs
from dyn_lightning.runs.figure_style import PALETTE, save_figure
from dyn_lightning.runs.statistics import Summary, summarise
from experiments.peers.analysis import (
    Comparison,
    Point,
    paired,
    percent,
    points,
    validation_eer,
)
from experiments.peers.benches import BENCHES, Bench, complexity_of
from experiments.peers.findings import findings, not_run
from experiments.peers.methods import METHODS, OURS
from experiments.study import markdown
from experiments.training import Record

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
TITLES = {"vad": "Voice activity, CRNNVAD", "antispoofing": "Anti-spoofing", "vad_transformer": "Voice activity, TrVAD"}
MARKERS = "so^vDPX*<>hpd"
COLOURS = ("black", *PALETTE, "#5a9bd4", "#8c564b", "#9a9a00", "#17a0a0", "#d080c0")
DRAWN = {"capsize": 2, "markersize": 5, "linewidth": 1.4, "elinewidth": 0.8}
EXPLAINED = (
    "Means over seeds, in brackets Student's 95 % interval: of other trainings on the same data, not of other data. "
    "Differences from ours are paired by seed. Training time is of a method's runs at the rate taken, the three of "
    "`random` together, without that of a network given; on cores that other runs shared."
)


def interval(found: Summary | None, digits: int = 2) -> str:
    """Mean and 95 % interval; a dash where nothing was measured."""
    if found is None:
        return "–"
    spread = f" [{found.low:.{digits}f}, {found.high:.{digits}f}]" if found.low is not None else ""
    return f"{found.mean:.{digits}f}{spread}"


def rows(shown: Sequence[Point], comparison: Comparison, bench: Bench) -> list[dict[str, Any]]:
    """One row for each of some points, with the difference from ours at the same budget."""
    test, validation = percent(bench.test), percent("val/eer")
    table = []
    for p in shown:
        beside = comparison.beside(p)
        difference = paired(p, beside, test) if beside is not None and p is not beside else None
        costs = [learnable_share(r, bench) for r in p.runs.values()]
        table.append(
            {
                "method": METHODS[p.method].title,
                "budget %": p.label or "–",
                "lr": f"{p.lr:g}",
                "seeds": len(p.runs),
                "learnable FLOPs/s kept %": f"{100 * np.mean(costs):.1f}",
                "validation EER %": interval(p.over(validation)),
                "test EER %": interval(p.over(test)),
                "minus ours": interval(difference),
                "training s": f"{np.mean(list(p.spent_s.values())):.0f}" if p.spent_s else "–",
            }
        )
    return table


def rates(comparison: Comparison) -> list[dict[str, Any]]:
    """What each learning rate gave on validation, where more than one was tried."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for p in comparison.tried:
        groups.setdefault((p.method, p.label), []).append(p)
    groups = {key: tried for key, tried in groups.items() if len(tried) > 1}
    lrs = sorted({p.lr for tried in groups.values() for p in tried})
    table = []
    for (method, label), tried in groups.items():
        seeds = comparison.tuning_seeds(tried)
        row = {"method": METHODS[method].title, "budget %": label or "–", "seeds": len(seeds)}
        for lr in lrs:
            runs = next((p.runs for p in tried if p.lr == lr), {})
            row[f"lr {lr:g}"] = interval(summarise(100 * validation_eer(runs[s]) for s in seeds if s in runs))
        table.append(row | {"taken": f"{comparison.rate(method, label):g}"})
    return table


def records_of(bench: Bench, results: Path, dataset: str | None = None) -> list[Record]:
    """The bench's runs at any learning rate.

    Args:
        bench: whose settings the runs have.
        results: of this comparison.
        dataset: what they were trained on; where absent, that with most runs.
    """
    settings = {k: v for k, v in bench.config.items() if k != "lr"}
    own = [r for r in read_runs(results) if r.get("bench") == bench.name] if results.is_file() else []
    own = [r for r in own if all(r["config"].get(k) == v for k, v in settings.items())]
    if dataset is None:
        counts = Counter(r["dataset"] for r in own)
        if not counts:
            return []
        dataset = counts.most_common(1)[0][0]
    here = (r for r in own if r["dataset"] == dataset)
    return list({(r["config"]["system"], r["config"]["lr"], r["seed"]): r for r in here}.values())


def learnable_share(record: Record, bench: Bench) -> float:
    """FLOPs/s of what sizes govern, kept by a run, over the same in the bench's network at full size."""
    cost = complexity_of(bench)
    return (float(record["flops_per_second"]) - cost.fixed_flops()) / cost.learnable_flops()


def write_tables(
    results: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    benches: Iterable[Bench] | None = None,
    n_tuning_seeds: int = 2,
) -> None:
    """``results.md``, ``front.png`` and ``ablations.png`` of all finished runs of some benches, of all when absent."""
    done: list[tuple[Bench, Comparison]] = []
    text = ["# Results\n"]
    for bench in (make() for make in BENCHES.values()) if benches is None else benches:
        records = records_of(bench, Path(results))
        comparison = Comparison(points(records), n_tuning_seeds)
        if not comparison.tried:
            continue
        done.append((bench, comparison))
        trained = {k: v for k, v in records[-1]["config"].items() if k in ("epochs", "items_per_epoch", "channels")}
        text.append(f"## {TITLES[bench.name]}\n\n{records[-1]['dataset']}. Trained with {trained}. {EXPLAINED}\n")
        for title, kinds in (("Methods", ("core", "peer")), ("Given the trained full network", ("trained",))):
            if shown := [p for p in comparison.chosen if METHODS[p.method].kind in kinds]:
                text.append(f"### {title}\n\n{markdown(rows(shown, comparison, bench))}")
        if ablated := _ablations(comparison):
            text.append(f"### One thing changed\n\n{markdown(rows(ablated, comparison, bench))}")
        said = [*findings(comparison, bench), *not_run(comparison, bench)]
        text.append("### What it comes to\n\n" + "\n".join(said) + "\n")
        if compared := rates(comparison):
            text.append(f"### Learning rates, EER in % on validation\n\n{markdown(compared)}")
    if not done:
        return
    folder = Path(folder)
    write_atomically(folder / "results.md", "\n".join(text).encode())
    save_figure(fronts_figure(done), folder / "front.png")
    if any(_ablations(comparison) for _, comparison in done):
        save_figure(ablations_figure(done), folder / "ablations.png")


def _ablations(comparison: Comparison) -> list[Point]:
    """The ablations, and before them what they are compared with; nothing where there are none."""
    found = [p for p in comparison.chosen if METHODS[p.method].kind == "ablation"]
    beside = {(ours.label, ours.lr): ours for p in found if (ours := comparison.beside(p)) is not None}
    return [*beside.values(), *found]


def fronts_figure(done: Sequence[tuple[Bench, Comparison]]) -> Figure:
    """Test EER over FLOPs/s of all methods but the ablations, mean and 95 % interval; a panel for each bench.

    Methods of one budget are drawn side by side, neighbours 2 % apart.
    """
    figure = Figure(figsize=(5.2 * len(done), 4.6), layout="constrained")
    for axes, (bench, comparison) in zip(figure.subplots(1, len(done), squeeze=False)[0], done, strict=True):
        for i, (name, method) in enumerate((n, m) for n, m in METHODS.items() if m.kind != "ablation"):
            mine = [p for p in comparison.chosen if p.method == name]
            if not mine:
                continue
            x = np.array([p.flops_per_second / 1e6 for p in mine]) * 1.02 ** ((i - 5) * method.budgeted)
            found = [s for p in mine if (s := p.over(percent(bench.test))) is not None]
            y, bars = [s.mean for s in found], _bars(found)
            line = "-" if name in (OURS, "uniform") else ""
            looks = {"label": method.title, "marker": MARKERS[i], "color": COLOURS[i], "linestyle": line, **DRAWN}
            axes.errorbar(x, y, bars, **looks)
        axes.set(xscale="log", xlabel="MFLOPs per second of audio", ylabel="test EER in %", title=TITLES[bench.name])
        axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
    shown = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _bars(found: Sequence[Summary]) -> list[list[float]]:
    """How far intervals reach below and above their means; 0 where there is none, as of one seed."""
    below = [0.0 if s.low is None else s.mean - s.low for s in found]
    above = [0.0 if s.high is None else s.high - s.mean for s in found]
    return [below, above]


def ablations_figure(done: Sequence[tuple[Bench, Comparison]]) -> Figure:
    """What each change of ours does to the test EER, paired by seed: mean and 95 % interval."""
    shown = [(bench, comparison) for bench, comparison in done if _ablations(comparison)]
    figure = Figure(figsize=(5.6 * len(shown), 3.6), layout="constrained")
    for axes, (bench, comparison) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        changed = [p for p in _ablations(comparison) if p.method != OURS]
        for y, p in enumerate(changed):
            beside = comparison.beside(p)
            found = paired(p, beside, percent(bench.test)) if beside is not None else None
            if found is None:
                continue
            if found.low is not None and found.high is not None:
                axes.plot([found.low, found.high], [y, y], color=COLOURS[1], linewidth=1.5)
            axes.plot(found.mean, y, "o", color=COLOURS[1])
        axes.axvline(0.0, color="0.5", linewidth=0.8)
        axes.set_yticks(range(len(changed)), [f"{METHODS[p.method].title}, {p.label} %" for p in changed], fontsize=8)
        axes.invert_yaxis()
        axes.set(xlabel="change of test EER, points", title=TITLES[bench.name])
        axes.grid(axis="x", alpha=0.3)
    return figure


if __name__ == "__main__":
    write_tables(RESULTS, HERE)
