"""What counting costs: FLOPs with their gradient, and the logging of a step, beside a training step of CRNNVAD.

``python -m experiments.benchmarks.complexity`` prints a row for each.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from dyn_lightning.callbacks import ComplexityLogger
from dyn_lightning.dynamize import dynamize
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import FlopsBudget
from dyn_lightning.tasks import FrameDetection
from experiments.benchmarks.step import SAMPLE_RATE, median_s, training_step


def mean_s(function: Callable[[], object], repeats: int) -> float:
    """Mean duration in seconds, after a call that warms up."""
    function()
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=500)
    args = parser.parse_args()
    torch.set_num_threads(1)
    network = dynamize(CRNNVAD(), torch.zeros(1, SAMPLE_RATE), duration_s=1.0)
    module = DynamicModule(network, FrameDetection(), FlopsBudget(share=0.25))
    logger, names = ComplexityLogger(), list(network.widths)

    def log_a_step() -> None:
        # A size that moves, so that the costs are counted anew.
        network.widths[names[0]].set_lam(1.0 - 0.1 * torch.rand(()).item())
        logger.measure(module)

    audio = 0.1 * torch.randn(32, 2 * SAMPLE_RATE)
    step_s = median_s({"step": training_step(CRNNVAD(), audio)}, 5)["step"]
    rows = {
        "FLOPs/s with their gradient": mean_s(lambda: network.complexity.flops_per_second().backward(), args.repeats),
        "all that is logged each step": mean_s(log_a_step, args.repeats),
    }
    print(f"CRNNVAD, training step of 32 × 2 s on one thread: {1e3 * step_s:.1f} ms; aim: logging under 0.5 %")
    for name, seconds in rows.items():
        print(f"  {name:30s} {1e3 * seconds:7.3f} ms  {100 * seconds / step_s:6.3f} %")


if __name__ == "__main__":
    main()
