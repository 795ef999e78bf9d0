"""The synthetic study's table and figure, from finished runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dyn_lightning.files import write_atomically
from dyn_lightning.runs import read_runs

Record = dict[str, Any]
N_BANDS, N_OUTPUTS = 32, 64
TARGET_SIZES = range(32, 37)
LARGEST_EXCESS = 0.01

OUR_COLOUR, FIXED_COLOUR = "#0b6fb8", "#333333"
OTHER_COLOURS = ("#e69f00", "#d55e00", "#a03070", "#009e73", "#888800")


def groups(records: Iterable[Record]) -> dict[tuple[str, str], list[Record]]:
    """(reading, system) → its runs by seed, in the order in which they first appear, a reading at a time."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in sorted(records, key=lambda r: (r["config"]["reading"], r["seed"])):
        found.setdefault((record["config"]["reading"], record["config"]["name"]), []).append(record)
    return found


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean."""
    values = list(values)
    return sum(values) / len(values)


def rows(records: Iterable[Record]) -> list[dict[str, str]]:
    """One row for each reading and system: what was kept, what it costs and how well it does."""
    found = groups(records)
    table = []
    for (reading, name), runs in found.items():
        fixed = found.get((reading, f"fixed {N_BANDS}"), [])
        table.append(
            {
                "reading": reading,
                "system": name,
                "seeds": str(len(runs)),
                "K of 64": sizes_text(runs),
                "relative L1, mean": f"{mean(map(relative_l1, runs)):.5f}",
                "worst": f"{max(map(relative_l1, runs)):.5f}",
                "FLOPs per call": over(runs, lambda r: r["flops_per_call"]),
                "of 64 wide": f"−{100 * mean(map(saved, runs)):.0f} %",
                "of fixed 32": relative_cost(runs, fixed),
                "FLOPs, paper's count": over(runs, lambda r: r["flops_per_call_paper"]),
                "seconds": over(runs, lambda r: r["wall_time_s"]),
            }
        )
    return table


def relative_l1(record: Record) -> float:
    """Error on held-out data over the mean absolute target."""
    return float(record["metrics"]["relative_l1"])


def saved(record: Record) -> float:
    """Share of the FLOPs of 64 outputs that the run does without."""
    per_output = record["flops_per_call"] / record["kept"]
    return 1.0 - float(record["flops_per_call"] / (per_output * N_OUTPUTS))


def over(runs: Iterable[Record], value: Callable[[Record], float]) -> str:
    """Mean over runs, without decimals."""
    return f"{mean(map(value, runs)):.0f}"


def relative_cost(runs: Sequence[Record], fixed: Sequence[Record]) -> str:
    """Mean FLOPs relative to those of the network of the right size; a dash where there is none."""
    if not fixed:
        return "–"
    return f"{mean(r['flops_per_call'] for r in runs) / mean(r['flops_per_call'] for r in fixed):.2f}"


def sizes_text(runs: Iterable[Record]) -> str:
    """Every size that was kept, with how often where more than once: "32 ×9, 33"."""
    sizes = sorted(r["kept"] for r in runs)
    counts = {size: sizes.count(size) for size in sizes}
    return ", ".join(f"{size} ×{n}" if n > 1 else f"{size}" for size, n in counts.items())


def findings(records: Iterable[Record], name: str = "ours") -> list[str]:
    """For each reading, how often a system keeps 32 to 36 and how much worse than the right size it does."""
    found = groups(records)
    lines = []
    for (reading, system), runs in found.items():
        fixed = found.get((reading, f"fixed {N_BANDS}"))
        if system != name or not fixed:
            continue
        right = sum(r["kept"] in TARGET_SIZES for r in runs)
        reference = mean(map(relative_l1, fixed))
        excess = [relative_l1(r) - reference for r in runs]
        lines.append(
            f"{reading}: K in {TARGET_SIZES[0]}–{TARGET_SIZES[-1]} in {right} of {len(runs)} seeds; relative L1 "
            f"above the fixed 32-wide network's by {max(excess):.5f} at most, by no more than {LARGEST_EXCESS} in "
            f"{sum(e <= LARGEST_EXCESS for e in excess)} of {len(runs)}"
        )
    return lines


def markdown(table: Sequence[Mapping[str, str]]) -> str:
    """A table as Markdown; empty where there are no rows."""
    if not table:
        return ""
    head = list(table[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row[key] for key in head) + " |" for row in table]
    return "\n".join(lines) + "\n"


def plain_text(table: Sequence[Mapping[str, str]], columns: Sequence[str]) -> str:
    """Some columns of a table for a terminal."""
    cells = [columns, *([row[c] for c in columns] for row in table)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in cells) + "\n"


def colour_of(name: str, names: Sequence[str]) -> str:
    """The colour of a system among all that are shown."""
    if name == "ours":
        return OUR_COLOUR
    if name.startswith("fixed"):
        return FIXED_COLOUR
    others = [n for n in names if n != "ours" and not n.startswith("fixed")]
    return OTHER_COLOURS[others.index(name) % len(OTHER_COLOURS)]


def draw_sizes(axes: Axes, runs: Mapping[str, Sequence[Record]]) -> None:
    """K over the optimiser steps, the search in grey, the right size as a line."""
    names = list(runs)
    for name, of_name in runs.items():
        for i, record in enumerate(of_name):
            history, colour = record["history"], colour_of(name, names)
            style: dict[str, Any] = {
                "color": colour,
                "label": name if i == 0 else None,
                "lw": 1.6 if len(of_name) < 3 else 0.9,
            }
            if name.startswith("fixed"):
                if i == 0:
                    axes.axhline(record["kept"], ls="--", **style)
            else:
                axes.plot(history["step"], history["k"], **style)
    shade_search(axes, next(iter(runs.values()))[0])
    axes.set_ylim(0, N_OUTPUTS + 4)
    axes.set_yticks([0, 16, 32, 48, 64])
    axes.set_ylabel("outputs K")


def shade_search(axes: Axes, record: Record) -> None:
    """Mark the search phase, and name it."""
    config = record["config"]
    first = config["warmup_epochs"] * config["steps_per_epoch"]
    end = first + config["search_epochs"] * config["steps_per_epoch"]
    axes.axvspan(first, end, color="0.94", zorder=0)
    axes.set_xlim(0, end + config["settle_epochs"] * config["steps_per_epoch"])


def figure(records: Iterable[Record], path: Path) -> None:
    """K over the steps, and held-out error over the FLOPs saved, for both readings."""
    found = groups(records)
    readings = list(dict.fromkeys(reading for reading, _ in found))
    canvas = Figure(figsize=(4.6 * len(readings), 6.4), layout="constrained")
    FigureCanvasAgg(canvas)
    panels = canvas.subplots(2, len(readings), squeeze=False)
    for (above, below), reading in zip(panels.T, readings, strict=True):
        runs = {name: of_name for (r, name), of_name in found.items() if r == reading}
        above.set_title(f"{reading}")
        draw_sizes(above, runs)
        above.set_xlabel("optimiser step")
        for name, of_name in runs.items():
            below.scatter(
                [100 * saved(r) for r in of_name],
                [max(relative_l1(r), 1e-6) for r in of_name],
                s=40 if name.startswith("fixed") else 22,
                marker="x" if name.startswith("fixed") else "o",
                color=colour_of(name, list(runs)),
                alpha=0.75,
                label=name,
            )
        below.axvline(50, color="0.6", lw=0.8, ls=":")
        below.set_yscale("log")
        below.set_xlim(-2, 60)
        below.set_ylim(1e-6, 0.3)
        below.set_xlabel("FLOPs saved, %")
        below.set_ylabel("relative L1, held out")
        below.legend(fontsize="small")
    canvas.savefig(path, dpi=130)


def write_tables(results: str | os.PathLike[str], folder: Path) -> None:
    """Write ``results.md`` and ``results.png`` into a folder, and print the table."""
    records = read_runs(results)
    text = "\n".join([markdown(rows(records)), *(f"- {line}" for line in findings(records))]) + "\n"
    print(text)
    write_atomically(folder / "results.md", text.encode())
    figure(records, folder / "results.png")


if __name__ == "__main__":
    write_tables(Path(__file__).parent / "results.jsonl", Path(__file__).parent)
