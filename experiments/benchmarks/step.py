"""What learning the sizes costs: a training step of each network, plain and dynamic, at λ = 1 and at λ = 0.25.

``python -m experiments.benchmarks.step`` prints a row for each. Steps of the variants take turns, so that whatever
else the machine does falls on all alike; medians are compared.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dyn_lightning.dynamize import dynamize
from dyn_lightning.optim import make_optimizer
from dyn_lightning.profiling.latency import median_latencies_s
from experiments.benchmarks.networks import Network, aim, benchmark_parser, networks, parse

LIMITS = {1.0: 1.05, 0.25: 0.3}
"""λ everywhere → largest duration of a step over the plain network's."""


def training_step(network: nn.Module, inputs: Tensor) -> Callable[[], None]:
    """A full training step: forward, backward and Adam, λ's group and the protection of unused slices included."""
    network.train()
    optimizer = make_optimizer(network, torch.optim.Adam, lr=0.0, weight_decay=0.0, lr_lam=0.0)

    def step() -> None:
        optimizer.zero_grad()
        logits = network(inputs)
        nn.functional.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits)).backward()
        optimizer.step()

    return step


def measure(network: Network, repeats: int) -> dict[float | None, float]:
    """Seconds of a step of the plain network (None) and of the dynamic one by λ."""
    plain, inputs = network.make(), network.batch()
    steps = {"plain": training_step(plain, inputs)}
    for lam in LIMITS:
        dynamic = dynamize(plain, network.example(), duration_s=1.0)
        for width in dynamic.widths.values():
            width.set_lam(lam)
        steps[str(lam)] = training_step(dynamic, inputs)
    found = median_latencies_s(steps, repeats, warmup=1)
    return {None if name == "plain" else float(name): seconds for name, seconds in found.items()}


def main() -> None:
    """Prints the table."""
    options = parse(benchmark_parser(__doc__, repeats=15))
    print(f"Training step, {options.threads} thread(s), medians of {options.repeats}")
    for network in networks(options):
        found = measure(network, options.repeats)
        print(f"{network.name}, batch of {network.batch_size} × {network.duration_s:g} s")
        print(f"  {'plain':30s} {1e3 * found[None]:8.1f} ms")
        for lam, limit in LIMITS.items():
            ratio = found[lam] / found[None]
            name = f"dynamic, λ = {lam:g}, searching"
            print(f"  {name:30s} {1e3 * found[lam]:8.1f} ms  {ratio:5.3f} ×  {aim(ratio, limit)}")


if __name__ == "__main__":
    main()
