"""Where the search begins: elements ranked, sizes allocated, and what was removed carried over."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dyn_lightning.checks import whole
from dyn_lightning.costs.allocation import least_size
from dyn_lightning.module.artifact import as_call
from dyn_lightning.network.compensate import Statistics, compensate, gather
from dyn_lightning.network.curvature import importance_by_curvature
from dyn_lightning.network.dynamic import DynamicNetwork
from dyn_lightning.network.profile import Profile, least_loss, measure_profile
from dyn_lightning.network.reorder import reorder
from dyn_lightning.tasks import Imitation


@dataclass
class Start:
    """Where a search begins.

    Attributes:
        sizes: of each width.
        chosen: which of the candidates these are: "profile", "uniform", or "between" them.
        distances: candidate → distance from the teacher with all sizes cut, before any training.
        profile: what each size loses by itself.
        remarks: by weight, what is not carried over, or not quite.
    """

    sizes: dict[str, int]
    chosen: str
    distances: dict[str, float]
    profile: Profile
    remarks: dict[str, str]


def begin(
    network: DynamicNetwork,
    task: Imitation,
    batches: Sequence[Any],
    budget: float,
    *,
    draws: int = 8,
    path: str | Path | None = None,
    seed: int = 0,
    told: Callable[[str], None] = lambda text: None,
) -> Start:
    """Rank the network's elements, profile it, and choose sizes under a budget; then carry over what these leave out.

    Three allocations are tried, with all sizes cut at once and compensated: the profile's, whose losses add up, the
    uniform one, and the one between them. The one that loses least is where the search begins, so that a network whose
    sizes are balanced already is not unbalanced by a profile that sees each size alone. Sizes are not set here, weights
    are changed.

    Args:
        network: dynamic, trained, at full size.
        task: knows its teacher.
        batches: a few, as the task takes them.
        budget: in the unit of the network's complexity.
        draws: of the ranking, see :func:`importance_by_curvature`.
        path: of the profile, see :func:`measure_profile`.
        seed: of the ranking's noise, so that a run that is begun again finds the same order.
        told: called with a line on what is done.

    Raises:
        SettingError: if the budget is out of reach, or there are no batches.
    """
    whole(1, batches=len(batches))
    inputs = [as_call(task.input_of(batch)) for batch in batches]
    was = task.training
    task.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            reorder(network, importance_by_curvature(network, inputs, task.pull, draws), also=task)
        told("elements are ranked")
        statistics = gather(network, inputs)
        loss = mean_distance(task, batches)
        profile = measure_profile(network, loss, statistics, path=path, told=told)
        candidates = allocations(network, profile, budget)
        chosen, distances = _measured(network, loss, candidates, statistics)
    finally:
        task.train(was)
    remarks = compensate(network, statistics, candidates[chosen])
    return Start(candidates[chosen], chosen, distances, profile, remarks)


def _measured(
    network: DynamicNetwork, loss: Any, candidates: dict[str, dict[str, int]], statistics: Statistics
) -> tuple[str, dict[str, float]]:
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        return least_loss(network, loss, candidates, statistics)
    finally:
        for module, mode in modes.items():
            module.training = mode


def mean_distance(task: Imitation, batches: Sequence[Any]) -> Callable[[DynamicNetwork], float]:
    """A network's mean distance from the task's teacher over batches; the teacher answers each once."""
    with torch.no_grad():
        answers = [task.answers(batch) for batch in batches]
    sizes = [task.size_of(batch) for batch in batches]

    def loss(network: DynamicNetwork) -> float:
        total = 0.0
        for batch, answer, size in zip(batches, answers, sizes, strict=True):
            x = task.input_of(batch)
            with torch.no_grad():
                total += size * float(sum(task.distances(network(x), answer).values()))
        mean = total / sum(sizes)
        return mean if math.isfinite(mean) else math.inf

    return loss


def allocations(network: DynamicNetwork, profile: Profile, budget: float) -> dict[str, dict[str, int]]:
    """The profile's sizes under a budget, the uniform ones, and those between: one factor on the geometric mean."""
    full = network.complexity.full_sizes
    of_profile = profile.sizes_within(network, budget)
    between = {name: math.sqrt(size * full[name]) for name, size in of_profile.items()}
    return {
        "profile": of_profile,
        "between": _scaled(network, between, budget),
        "uniform": _scaled(network, {name: float(size) for name, size in full.items()}, budget),
    }


def _scaled(network: DynamicNetwork, target: dict[str, float], budget: float) -> dict[str, int]:
    """All sizes by one factor, in whole units, as large as the budget allows."""

    def at(factor: float) -> dict[str, int]:
        sizes = {}
        for name, width in network.widths.items():
            units = round(target[name] * factor / width.multiple_of) * width.multiple_of
            sizes[name] = min(max(units, least_size(width)), width.full_size)
        return sizes

    low, high = 0.0, 2.0 * max(network.widths[n].full_size / x for n, x in target.items())
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if network.complexity.flops_at(at(middle)) <= budget else (low, middle)
    return at(low)
