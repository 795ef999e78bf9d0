"""What consolidation gains: inference of ResNet34 at 16 % of its FLOPs, on one core, beside the plain network.

``python -m experiments.benchmarks.consolidated`` prints rows for sizes of any number and for multiples of 8 and 16,
which convolutions of many CPUs run faster. All sizes have one λ, the largest at which the budget is kept.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.profiling.latency import inference_call, median_latencies_s
from experiments.benchmarks.networks import aim, benchmark_parser, networks, parse

SHARE, LIMIT = 0.16, 4.0


def at_share(dynamic: Any, share: float, multiple_of: int) -> tuple[nn.Module, float]:
    """The consolidated network at the largest common λ that keeps to a share of the FLOPs; the share it has."""
    for width in dynamic.widths.values():
        width.limit(multiple_of=min(multiple_of, width.full_size))
    full = dynamic.complexity.flops_full_size()
    for step in range(1000, 0, -1):
        for width in dynamic.widths.values():
            width.set_lam(max(step / 1000, width.lam_min))
        reached = dynamic.complexity.flops_now() / full
        if reached <= share:
            return consolidate(dynamic.eval())[0], reached
    raise ValueError(f"{share:.0%} of the FLOPs cannot be reached")


def main() -> None:
    """Prints the table."""
    parser = benchmark_parser(__doc__, repeats=30)
    parser.set_defaults(only="ResNet34")
    options = parse(parser)
    for network in networks(options):
        plain, example = network.make(), network.example()
        calls, shares = {"plain": inference_call(plain, example)}, {"plain": 1.0}
        for multiple_of in (1, 8, 16):
            name = f"consolidated, multiples of {multiple_of}"
            small, shares[name] = at_share(dynamize(plain, example, duration_s=1.0), SHARE, multiple_of)
            calls[name] = inference_call(small, example)
        found = median_latencies_s(calls, options.repeats)
        print(f"{network.name}, one second of input, {options.threads} thread(s), medians of {options.repeats}")
        for name, seconds in found.items():
            faster = found["plain"] / seconds
            note = "" if name == "plain" else f"  {faster:5.2f} × faster  {aim(faster, LIMIT, least=True)}"
            print(f"  {name:30s} {100 * shares[name]:6.1f} % of the FLOPs {1e3 * seconds:8.2f} ms{note}")


if __name__ == "__main__":
    main()
