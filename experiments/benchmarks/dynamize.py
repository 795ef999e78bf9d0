"""How long it takes to make each network's sizes learnable, and to make it plain again, beside a plain forward pass.

``python -m experiments.benchmarks.dynamize`` prints a row for each, and how the time grows with the depth of a network.
"""

from __future__ import annotations

import time

import torch

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from experiments.benchmarks.deep import KINDS, deep
from experiments.benchmarks.networks import Network, aim, benchmark_parser, networks, parse

LIMIT_S = 10.0
DEPTHS = (160, 320, 640, 1000)


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


def measure_depth(kind: str, layers: int) -> tuple[float, float]:
    """CPU seconds of dynamize and of consolidate for a network of so many layers."""
    plain, shape = deep(kind, layers)
    example = torch.randn(shape)
    start = time.process_time()
    dynamic = dynamize(plain.eval(), example)
    between = time.process_time()
    consolidate(dynamic, [example])
    return between - start, time.process_time() - between


def main() -> None:
    """Prints the tables."""
    parser = benchmark_parser(__doc__, repeats=1)
    parser.add_argument("--depths", type=int, nargs="*", default=DEPTHS, help="layers of the deep networks")
    options = parse(parser)
    for network in networks(options):
        sizes, durations = measure(network)
        print(f"{network.name}, one second of input, {sizes} sizes")
        for name, seconds in durations.items():
            note = f"  {aim(seconds, LIMIT_S)}" if name == "dynamize" else ""
            print(f"  {name:32s} {seconds:8.3f} s{note}")
    depths = [n for n in options.depths if n <= 40] or [20, 40] if options.quick else options.depths
    for kind in () if options.only else KINDS:
        print(f"deep, {kind}: CPU seconds of dynamize, consolidate")
        for layers in depths:
            seconds, back = measure_depth(kind, layers)
            print(f"  {layers:5d} layers {seconds:8.2f} {back:8.2f}  {aim(seconds, LIMIT_S)}")


if __name__ == "__main__":
    main()
