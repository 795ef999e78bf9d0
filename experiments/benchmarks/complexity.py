"""What counting costs: FLOPs with their gradient, and the logging of a step, beside a training step of each network.

``python -m experiments.benchmarks.complexity`` prints rows for each.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from dyn_lightning.callbacks import ComplexityLogger
from dyn_lightning.dynamize import dynamize
from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import FlopsBudget
from dyn_lightning.profiling.latency import median_latencies_s
from dyn_lightning.tasks import FrameDetection
from experiments.benchmarks.networks import Network, aim, benchmark_parser, networks, parse
from experiments.benchmarks.step import training_step

LIMIT_PERCENT = 0.5


def mean_s(function: Callable[[], object], repeats: int) -> float:
    """Mean duration in seconds, after a call that warms up."""
    function()
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def measure(network: Network, repeats: int) -> tuple[float, dict[str, float]]:
    """Seconds of a step of the plain network, and of what is counted and logged beside it."""
    plain = network.make()
    dynamic = dynamize(plain, network.example(), duration_s=1.0)
    module = DynamicModule(dynamic, FrameDetection(), FlopsBudget(share=0.25))
    logger, names = ComplexityLogger(), list(dynamic.widths)

    def log_a_step() -> None:
        # A size that moves, so that the costs are counted anew.
        dynamic.widths[names[0]].set_lam(1.0 - 0.1 * torch.rand(()).item())
        logger.measure(module)

    step = {"step": training_step(plain, network.batch())}
    step_s = median_latencies_s(step, max(1, repeats // 100), warmup=1)["step"]
    return step_s, {
        "FLOPs/s with their gradient": mean_s(lambda: dynamic.complexity.flops_per_second().backward(), repeats),
        "all that is logged each step": mean_s(log_a_step, repeats),
    }


def main() -> None:
    """Prints the table."""
    options = parse(benchmark_parser(__doc__, repeats=500))
    for network in networks(options):
        step_s, rows = measure(network, options.repeats)
        print(f"{network.name}, step of {network.batch_size} × {network.duration_s:g} s: {1e3 * step_s:.1f} ms")
        for name, seconds in rows.items():
            percent = 100 * seconds / step_s
            print(f"  {name:30s} {1e3 * seconds:7.3f} ms  {percent:6.3f} %  {aim(percent, LIMIT_PERCENT)}")


if __name__ == "__main__":
    main()
