"""The voice-activity study's table and figure, from finished runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from dyn_lightning.files import write_atomically
from dyn_lightning.runs import read_runs
from experiments.study import markdown, mean_spread, optimiser
from experiments.training import Record

PUBLISHED = Path(__file__).parent / "published.csv"
SNR_BINS = ("<5", "5-15", "15-25", ">=25")


def metric(record: Record, name: str, metrics: str = "metrics") -> float | None:
    """A metric of the mixed test set in percent."""
    values = record.get(metrics, {})
    value = values.get(f"test/mixed/{name}", values.get(f"test/{name}"))
    return None if value is None else 100 * float(value)


def ami(record: Record, metrics: str = "metrics") -> float | None:
    """EER on AMI in percent, where it was tested."""
    value = record.get(metrics, {}).get("test/ami/eer")
    return None if value is None else 100 * float(value)


def rows(records: list[Record], speed: dict[str, float]) -> list[dict[str, Any]]:
    """One row a system, by network, controls last; a full network has one for each choice of checkpoint.

    Args:
        records: finished runs.
        speed: real-time factor on one core by system.
    """
    names = list(dict.fromkeys(r["config"]["system"] for r in sorted(records, key=_place)))
    found = []
    for name in names:
        runs = [r for r in records if r["config"]["system"] == name]
        found.append(_row(name, runs, "metrics", speed.get(name)))
        if any("metrics_last" in r for r in runs):
            found.append(_row(f"{name}, last checkpoint", runs, "metrics_last", speed.get(name)))
    return found


def _place(record: Record) -> tuple[bool, str, bool, float]:
    """Order of rows: the full network, then by cost; the paper's setting and controls behind."""
    network = record.get("network", "CRNNVAD")
    return record["control"], network, not record["settles"], -round(record["flops_per_second"] / 1e6)


def family_of(name: str) -> str:
    """A system's name without the budget or λ_min at its end: one line of the figure."""
    network = "TrVAD, " if name.startswith("TrVAD, ") else ""
    return network + name.removeprefix(network).split(",")[0].rstrip("% ").rstrip("0123456789.").strip()


def _row(name: str, runs: list[Record], metrics: str, speed: float | None) -> dict[str, Any]:
    def over(value: Callable[[Record], float | None], digits: int = 2) -> str:
        return mean_spread(map(value, runs), digits)

    row: dict[str, Any] = {
        "system": name,
        "seeds": len(runs),
        "EER %": over(lambda r: metric(r, "eer", metrics)),
    }
    for label in SNR_BINS:
        row[f"{label} dB"] = over(lambda r, label=label: metric(r, f"eer_snr_db_{label}", metrics))  # type: ignore[misc]
    row |= {
        "AMI EER %": over(lambda r: ami(r, metrics)),
        "parameters": over(lambda r: r["parameters"], 0),
        "MFLOPs/s": over(lambda r: r["flops_per_second"] / 1e6),
        "learnable %": over(lambda r: 100 * learnable_share(r)),
        "MFLOPs/s (paper)": over(lambda r: r["flops_per_second_paper"] / 1e6),
        "without GRU": over(lambda r: r["flops_per_second_published"] / 1e6, 3),
        "RTF": "–" if speed is None else f"{speed:.5f}",
        "training s": over(lambda r: None if r.get("resumed") else r["wall_time_s"], 0),
        "sizes": "; ".join("/".join(str(kept) for kept, _ in r["widths"].values()) for r in runs if r["widths"]),
    }
    return row


def learnable_share(record: Record) -> float:
    """FLOPs/s above the part that no size governs, over the same of the network at full size."""
    fixed, full = record["flops_per_second_full"]
    return (record["flops_per_second"] - fixed) / (full - fixed)


def figure(records: list[Record], path: Path) -> None:
    """EER over FLOPs/s: every run a point, every system its mean."""
    canvas = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots()
    families: dict[str, list[tuple[float, float]]] = {}
    for name in dict.fromkeys(r["config"]["system"] for r in records):
        runs = [r for r in records if r["config"]["system"] == name]
        points = [(r["flops_per_second"] / 1e6, metric(r, "eer") or 0.0) for r in runs]
        family = family_of(name)
        families.setdefault(family, []).append(tuple(np.mean(points, axis=0)))
        x, y = zip(*points, strict=True)
        axes.scatter(x, y, s=10, alpha=0.4, color=f"C{list(families).index(family)}")
    for i, (family, means) in enumerate(families.items()):
        x, y = zip(*sorted(means), strict=True)
        axes.plot(x, y, "o-", color=f"C{i}", label=family)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_xlabel("MFLOPs per second of audio, all counted")
    axes.set_ylabel("EER on the mixed test set, %")
    axes.grid(alpha=0.3)
    axes.legend()
    canvas.savefig(path, dpi=150)


def studies(records: list[Record]) -> dict[str, list[Record]]:
    """Runs that may be compared, by what they have in common: data and steps. Most seeds first, then most steps."""
    found: dict[str, list[Record]] = {}
    length: dict[str, int] = {}
    for record in records:
        config = record["config"]
        steps = config["epochs"] * (config["items_per_epoch"] // config["batch_size"])
        title = f"{steps} steps of {config['batch_size']}, {optimiser(config)}; {record['dataset']}"
        length[title] = steps
        found.setdefault(title, []).append(record)

    def rank(item: tuple[str, list[Record]]) -> tuple[int, int]:
        return -len({record["seed"] for record in item[1]}), -length[item[0]]

    return dict(sorted(found.items(), key=rank))


def write_tables(results: str | os.PathLike[str], folder: Path) -> None:
    """Write ``results.md`` (a table for each data set and length) and ``results.png`` (the first), and print them."""
    speed_file = folder / "speed.json"
    speed = json.loads(speed_file.read_text()) if speed_file.is_file() else {}
    found = studies(read_runs(results))
    text = "\n".join(f"## {title}\n{markdown(rows(records, speed))}" for title, records in found.items())
    print(text)
    write_atomically(folder / "results.md", text.encode())
    if found:
        figure(next(iter(found.values())), folder / "results.png")


if __name__ == "__main__":
    write_tables(Path(__file__).parent / "results.jsonl", Path(__file__).parent)
