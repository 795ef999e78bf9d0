"""What learning the sizes costs: a training step of CRNNVAD, plain and dynamic, at λ = 1 and at λ = 0.25.

``python -m experiments.benchmarks.step`` prints a row for each. Steps of the variants take turns, so that whatever
else the machine does falls on all alike; medians are compared.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dyn_lightning.dynamize import dynamize
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.optim import make_optimizer

SAMPLE_RATE = 16000


def training_step(network: nn.Module, audio: Tensor) -> Callable[[], None]:
    """A full training step: forward, backward and Adam, λ's group and the protection of unused slices included."""
    network.train()
    optimizer = make_optimizer(network, torch.optim.Adam, lr=0.0, weight_decay=0.0, lr_lam=0.0)

    def step() -> None:
        optimizer.zero_grad()
        logits = network(audio)
        nn.functional.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits)).backward()
        optimizer.step()

    return step


def median_s(steps: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median duration in seconds of each step, taken in turns after one that warms up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--duration_s", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    audio = 0.1 * torch.randn(args.batch_size, int(args.duration_s * SAMPLE_RATE))
    plain, example = CRNNVAD(), torch.zeros(1, SAMPLE_RATE)
    steps = {"plain": training_step(plain, audio)}
    limits = {"plain": None, "dynamic, λ = 1, searching": 1.05, "dynamic, λ = 0.25, searching": 0.3}
    for name, lam in (("dynamic, λ = 1, searching", 1.0), ("dynamic, λ = 0.25, searching", 0.25)):
        dynamic = dynamize(plain, example, duration_s=1.0)
        for width in dynamic.widths.values():
            width.set_lam(lam)
        steps[name] = training_step(dynamic, audio)
    found = median_s(steps, args.repeats)
    print(f"CRNNVAD, batch of {args.batch_size} × {args.duration_s:g} s, {args.threads} thread(s)")
    for name, seconds in found.items():
        ratio, limit = seconds / found["plain"], limits[name]
        aim = "" if limit is None else f"  aim: at most {limit:g} ×, {'met' if ratio <= limit else 'MISSED'}"
        print(f"  {name:30s} {1e3 * seconds:8.1f} ms  {ratio:5.3f} ×{aim}")


if __name__ == "__main__":
    main()
