"""The paper's objective, a weight times a measure of size."""

from __future__ import annotations

import torch
from torch import Tensor

from dyn_lightning.checks import at_least
from dyn_lightning.network.dynamic import DynamicNetwork
from dyn_lightning.objectives.base import Objective


class LambdaSquared(Objective):
    """The paper's objective: ``(β / N_d) Σ λ_n²`` over the N_d widths (arXiv 2601.13704).

    Args:
        beta: β, 0 or more; 0.5 for voice activity detection and 1.0 for anti-spoofing in the paper, found by hand.
    """

    def __init__(self, beta: float = 0.5) -> None:
        super().__init__()
        at_least(0.0, beta=beta)
        self.beta = beta

    def forward(self, dynamic: DynamicNetwork, task_loss: Tensor, progress: float) -> Tensor:
        lam = torch.stack([width.lam for width in dynamic.widths.values()])
        return self.beta * lam.square().mean()
