"""How long it takes to make each network's sizes learnable, and to make it plain again, beside a plain forward pass.

``python -m experiments.benchmarks.dynamize`` prints a row for each.
"""

from __future__ import annotations

import time

import torch

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from experiments.benchmarks.networks import Network, aim, benchmark_parser, networks, parse

LIMIT_S = 10.0


def measure(network: Network) -> tuple[int, dict[str, float]]:
    """Number of learnable sizes; seconds of a plain forward pass, of dynamize and of consolidate."""
    plain, example = network.make().eval(), network.example()
    durations = {}
    with torch.no_grad():
        start = time.perf_counter()
        plain(example)
        durations["plain forward pass"] = time.perf_counter() - start
    start = time.perf_counter()
    dynamic = dynamize(plain, example, duration_s=1.0)
    durations["dynamize"] = time.perf_counter() - start
    start = time.perf_counter()
    consolidate(dynamic, [example])
    durations["consolidate, one batch compared"] = time.perf_counter() - start
    return len(dynamic.widths), durations


def main() -> None:
    """Prints the table."""
    options = parse(benchmark_parser(__doc__, repeats=1))
    for network in networks(options):
        sizes, durations = measure(network)
        print(f"{network.name}, one second of input, {sizes} sizes")
        for name, seconds in durations.items():
            note = f"  {aim(seconds, LIMIT_S)}" if name == "dynamize" else ""
            print(f"  {name:32s} {seconds:8.3f} s{note}")


if __name__ == "__main__":
    main()
