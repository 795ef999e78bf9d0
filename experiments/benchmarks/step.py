"""What learning the sizes costs: a training step of each network, plain and dynamic, at λ = 1 and at λ = 0.25.

``python -m experiments.benchmarks.step`` prints a row for each; ``--compile`` adds settled networks, with and without
``torch.compile``. Steps of the variants take turns, so that whatever
else the machine does falls on all alike; medians are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.dynamize import dynamize
from dyn_lightning.network.compiled import CompiledNetwork
from dyn_lightning.optim import make_optimizer
from dyn_lightning.profiling.latency import median_latencies_s
from experiments.benchmarks.networks import Network, aim, benchmark_parser, networks, parse

LIMITS = {1.0: 1.05, 0.25: 0.3}
"""λ everywhere → largest duration of a step over the plain network's."""


def training_step(
    network: nn.Module, inputs: Tensor, call: Callable[[Tensor], Tensor] | None = None
) -> Callable[[], None]:
    """A full training step: forward, backward and Adam, λ's group and the protection of unused slices included.

    ``call``: what gives the network's output, the network itself when absent.
    """
    network.train()
    forward = network if call is None else call
    optimizer = make_optimizer(network, torch.optim.Adam, lr=0.0, weight_decay=0.0, lr_lam=0.0)

    def step() -> None:
        optimizer.zero_grad()
        logits = forward(inputs)
        nn.functional.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits)).backward()
        optimizer.step()

    return step


def measure(network: Network, repeats: int, *, compiled: bool = False) -> dict[str, tuple[float, float | None]]:
    """Seconds of a step by the name of what took it, and the largest share of the plain network's that is aimed at."""
    plain, inputs = network.make(), network.batch()
    steps: dict[str, Callable[[], None]] = {"plain": training_step(plain, inputs)}
    limits: dict[str, float] = {}
    for lam, limit in LIMITS.items():
        dynamic = at(lam, plain, network)
        limits[name := f"dynamic, λ = {lam:g}, searching"] = limit
        steps[name] = training_step(dynamic, inputs)
        if compiled:
            settled = at(lam, plain, network, learning=False)
            steps[f"dynamic, λ = {lam:g}, settled"] = training_step(settled, inputs)
            compiled_too = at(lam, plain, network, learning=False)
            call = CompiledNetwork(compiled_too)
            steps[f"dynamic, λ = {lam:g}, settled, compiled"] = training_step(compiled_too, inputs, call)
    if compiled:
        twin = network.make()
        steps["plain, compiled"] = training_step(twin, inputs, torch.compile(twin))
    found = median_latencies_s(steps, repeats, warmup=2 if compiled else 1)
    return {name: (seconds, limits.get(name)) for name, seconds in found.items()}


def at(lam: float, plain: nn.Module, network: Network, *, learning: bool = True) -> Any:
    """The dynamic form of a plain network with every size at λ."""
    dynamic: Any = dynamize(plain, network.example(), duration_s=1.0)
    for width in dynamic.widths.values():
        width.set_lam(max(lam, width.lam_min))
        width.set_learning(learning)
    return dynamic


def main() -> None:
    """Prints the table."""
    parser = benchmark_parser(__doc__, repeats=15)
    parser.add_argument("--compile", action="store_true", help="settled networks as well, plain and compiled")
    options = parse(parser)
    print(f"Training step, {options.threads} thread(s), medians of {options.repeats}")
    for network in networks(options):
        found = measure(network, options.repeats, compiled=options.compile)
        print(f"{network.name}, batch of {network.batch_size} × {network.duration_s:g} s")
        for name, (seconds, limit) in found.items():
            ratio = seconds / found["plain"][0]
            print(f"  {name:36s} {1e3 * seconds:8.1f} ms  {ratio:5.3f} ×  {'' if limit is None else aim(ratio, limit)}")


if __name__ == "__main__":
    main()
