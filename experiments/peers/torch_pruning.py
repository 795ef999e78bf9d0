"""Torch-Pruning by its recommended use, at the ratio that meets a budget."""

from __future__ import annotations

import math
from importlib.util import find_spec

from torch import Tensor, nn

from dyn_lightning.network.plain import plain_complexity
from experiments.zoo.peer import pruned

STEPS = 6


def pruned_to(network: nn.Module, example: Tensor, budget: float, duration_s: float) -> nn.Module:
    """A copy of a trained network, pruned at the least ratio (to 1/1024) at which its cost is within the budget.

    Args:
        network: that is pruned.
        example: (batch, samples).
        budget: FLOPs per second, all included.
        duration_s: of the example.

    Raises:
        ImportError: without the extra ``peers``.
        ValueError: if no ratio meets the budget.
    """
    if find_spec("torch_pruning") is None:
        raise ImportError("Torch-Pruning is not installed: install dyn_lightning with its extra peers")

    def at(ratio: float) -> tuple[nn.Module, float]:
        small = pruned(network, example, ratio)
        return small, plain_complexity(small, example[:1], duration_s).flops_full_size()

    low, high, cost = 0.0, 0.0, math.inf
    while cost > budget:  # step by step: at ratios that would leave a layer nothing, the layer is left whole
        low, high = high, high + 1 / 16
        if high >= 1.0:
            raise ValueError(f"Torch-Pruning does not come down to {budget:.4g} FLOPs/s")
        found, cost = at(high)
    for _ in range(STEPS):
        middle = (low + high) / 2
        small, cost = at(middle)
        if cost <= budget:
            found, high = small, middle
        else:
            low = middle
    return found.train()
