"""Plain networks of chosen sizes with weights of their own: what is trained from scratch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.dynamize import dynamize


def fresh_network(backbone: nn.Module, example: Tensor, sizes: Mapping[str, int]) -> nn.Module:
    """The backbone with learnable sizes set, its weights drawn anew as for layers of these sizes."""
    dynamic: Any = dynamize(copy.deepcopy(backbone), example)
    for name, size in sizes.items():
        dynamic.widths[name].freeze(size)
    plain, _ = consolidate(dynamic)
    for module in plain.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    return plain.train()


def random_sizes(
    cost: Complexity, budget: float, generator: torch.Generator, tolerance: float = 0.02
) -> dict[str, int]:
    """Sizes at a cost, otherwise as chance has it.

    A relative size for each width is drawn log-uniformly from [1/16, 1]; one factor on all of them, none beyond full
    size, brings the cost to the budget. Draws that miss it are thrown away.

    Args:
        cost: as a function of the sizes.
        budget: FLOPs in the cost's unit.
        generator: of the draws.
        tolerance: relative distance from the budget that counts as meeting it.

    Raises:
        ValueError: where a hundred draws miss the budget.
    """
    full = cost.full_sizes
    for _ in range(100):
        relative = {name: 16 ** -float(torch.rand((), generator=generator)) for name in full}

        def scaled(factor: float, relative: Mapping[str, float] = relative) -> dict[str, int]:
            return {name: min(n, max(1, round(factor * relative[name] * n))) for name, n in full.items()}

        low, high = 0.0, 16.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if cost.flops_at(scaled(middle)) <= budget else (low, middle)
        if abs(cost.flops_at(scaled(low)) / budget - 1) <= tolerance:
            return scaled(low)
    raise ValueError(f"no sizes cost {budget:.4g} within {tolerance:.0%}: the network is too small for that")
