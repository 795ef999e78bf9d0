"""How fast each system of the study runs: real-time factor on one core, from the sizes that its runs ended with.

Apart from training, because nothing else may run beside it: ``python -m experiments.vad.speed`` after the runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.files import write_atomically
from dyn_lightning.runs import read_runs
from experiments.vad.systems import SAMPLE_RATE, System, all_systems

HERE = Path(__file__).parent
DURATION_S, REPEATS = 30.0, 7


def network_of(record: dict[str, Any], system: System) -> nn.Module:
    """The plain network that a run ended with, at random weights."""
    network = system.plain()
    if not record["widths"]:
        return network.eval()
    ties = system.options.get("ties", ())
    dynamic = dynamize(network, torch.zeros(1, SAMPLE_RATE), dynamic=list(record["widths"]), ties=ties)
    for name, (kept, _) in record["widths"].items():
        dynamic.widths[name].freeze(kept)
    small, _ = consolidate(dynamic)
    return small.eval()


def real_time_factors(networks: dict[str, nn.Module]) -> dict[str, float]:
    """Seconds of one core for each second of audio: medians over repeats in which the networks take turns."""
    audio = 0.1 * torch.randn(1, int(DURATION_S * SAMPLE_RATE))
    times: dict[str, list[float]] = {name: [] for name in networks}
    with torch.inference_mode():
        for repeat in range(REPEATS + 1):
            for name, network in networks.items():
                start = time.perf_counter()
                network(audio)
                if repeat:
                    times[name].append((time.perf_counter() - start) / DURATION_S)
    return {name: statistics.median(values) for name, values in times.items()}


def write_speed(results: str | os.PathLike[str], folder: Path) -> dict[str, float]:
    """Measure every system in the results by its first run, and write ``speed.json``."""
    torch.set_num_threads(1)
    systems = {system.name: system for system in all_systems()}
    first: dict[str, dict[str, Any]] = {}
    for record in read_runs(results):
        first.setdefault(record["config"]["system"], record)
    factors = real_time_factors({n: network_of(r, systems[n]) for n, r in first.items() if n in systems})
    write_atomically(folder / "speed.json", f"{json.dumps(factors, indent=2)}\n".encode())
    return factors


def main(arguments: list[str] | None = None) -> None:
    """Prints and writes what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--results", default=str(HERE / "results.jsonl"), help="the runs")
    parser.add_argument("--out_dir", type=Path, default=HERE, help="where speed.json goes")
    args = parser.parse_args(arguments)
    for name, factor in write_speed(args.results, args.out_dir).items():
        print(f"{name:24s} {factor:.5f}")


if __name__ == "__main__":
    main()
