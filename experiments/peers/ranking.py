"""Pruning by magnitude, once: rank all units of a trained network together, keep what the budget pays for, go on.

After Li et al. 2017 (arXiv 1608.08710) with the norm of everything that goes with a unit (Fang et al. 2023,
arXiv 2301.12900, "group norm"), over the mean of its size's units, so that layers can be compared.
"""

from __future__ import annotations

from typing import Any

import lightning
import torch
from lightning.pytorch import Callback
from torch import Tensor

from dyn_lightning.module import DynamicModule
from dyn_lightning.network.dynamic import learned_tensors
from dyn_lightning.network.reorder import reorder, reorderable
from dyn_lightning.objectives import FlopsBudget
from dyn_lightning.widths.layout import Concat, Layout
from dyn_lightning.widths.width import Width


@torch.no_grad()
def magnitudes(network: Any) -> dict[str, Tensor]:
    """Norm of all parameters that go with each element of a width, over the width's mean: name → (full_size,)."""
    squares = {w: torch.zeros(w.full_size) for w in network.widths.values()}
    for tensor, dims in learned_tensors(network):
        if not isinstance(tensor, torch.nn.Parameter):
            continue
        for dim, layout in enumerate(dims):
            if layout is not None:
                others = [d for d in range(tensor.dim()) if d != dim]
                total = tensor.square().sum(others) if others else tensor.square()
                _share_out(layout, total.cpu(), squares)
    norms = {name: squares[w].sqrt() for name, w in network.widths.items()}
    return {name: norm / norm.mean() for name, norm in norms.items()}


def _share_out(layout: Layout, total: Tensor, squares: dict[Width, Tensor]) -> None:
    """Adds what lies at each position of a dimension to the elements that the position belongs to."""
    factors = layout.factors
    seen = total.reshape([f if isinstance(f, int) else f.full_size for f in factors])
    for i, factor in enumerate(factors):
        if isinstance(factor, int):
            continue
        others = [d for d in range(len(factors)) if d != i]
        mine = seen.sum(others) if others else seen
        if isinstance(factor, Concat):
            for part, piece in zip(factor.parts, mine.split([p.full_size for p in factor.parts]), strict=True):
                _share_out(part, piece, squares)
        else:
            squares[factor] += mine


class OneShot(FlopsBudget):
    """A budget that is met at once: the search ends with its first step, which charges nothing for size."""

    scores: dict[str, Tensor]

    @property
    def finished(self) -> bool:
        return True

    def forward(self, dynamic: Any, task_loss: Tensor, progress: float) -> Tensor:
        return 0.0 * torch.stack([width.theta for width in dynamic.widths.values()]).sum()

    def final_sizes(self, dynamic: Any) -> dict[str, int]:
        return sizes_above_threshold(dynamic, self.scores, self.budget(dynamic.complexity))


def sizes_above_threshold(dynamic: Any, scores: dict[str, Tensor], budget: float) -> dict[str, int]:
    """How many elements of each width exceed the least common score at which the cost stays within the budget.

    A width without scores (its elements cannot be ranked) shrinks in proportion to the others' mean.
    """
    cost = dynamic.complexity
    full = cost.full_sizes

    def sizes(threshold: float) -> dict[str, int]:
        found = {name: max(1, int((score > threshold).sum())) for name, score in scores.items()}
        mean = sum(n / full[name] for name, n in found.items()) / len(found)
        return {name: found.get(name, max(1, round(mean * n))) for name, n in full.items()}

    thresholds = torch.cat(list(scores.values())).sort().values.tolist()
    low, high = 0, len(thresholds) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if cost.flops_at(sizes(thresholds[middle])) <= budget else (middle + 1, high)
    return sizes(thresholds[low])


class RankByMagnitude(Callback):
    """Orders all units by magnitude when the search begins, for :class:`OneShot` to cut."""

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        module = pl_module
        assert isinstance(module, DynamicModule)
        if module.phase != "search":
            return
        network, objective = module.learned
        assert isinstance(objective, OneShot)
        scores = {name: s for name, s in magnitudes(network).items() if name in reorderable(network)}
        reorder(network, scores, trainer.optimizers[0])
        objective.scores = scores
