"""Training steps whose loss is no finite number are left out: one of them would be in the weights for good."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import Optimizer

from dyn_lightning.errors import UserError

LONGEST = 20
"""Losses in a row, none of them finite, after which a run ends."""


class NonFiniteError(UserError):
    """Training has come to NaN or infinity, and does not come back."""


class SoundSteps:
    """Watches the losses of a run, and takes back what a step left behind whose loss was NaN or infinite.

    Such a step moves no weight, and the running statistics of normalisation are those of the step before.

    Attributes:
        left_out: how many steps were left out since the last one that was not.
    """

    def __init__(self) -> None:
        self.left_out = 0
        self._sound = True  # all losses since the latest optimiser step
        self._statistics: list[tuple[Tensor, Tensor]] = []

    def before(self, network: nn.Module) -> None:
        """Remember the statistics of normalisation layers, before a batch's forward pass."""
        if self._sound:
            self._statistics = [(x, x.clone()) for x in _running(network)]
        else:
            self._put_back()

    def see(self, loss: Tensor, network: nn.Module, step: int) -> None:
        """Take note of a batch's loss (0-d).

        Raises:
            NonFiniteError: where it is not finite, and neither are the weights, or the last losses.
        """
        if bool(loss.isfinite()):
            self.left_out = 0
            return
        if odd := next((n for n, p in network.named_parameters() if not bool(p.isfinite().all())), None):
            raise NonFiniteError(f"training has failed: {odd} holds NaN or infinity since step {step}. {MEND}")
        self.left_out += 1
        if self.left_out >= LONGEST:
            raise NonFiniteError(
                f"training has failed: {LONGEST} losses in a row were {float(loss)}, up to step {step}. {MEND}"
            )
        if self.left_out == 1:
            rank_zero_warn(f"the loss of step {step} is {float(loss)}: the step is left out")
        self._sound = False  # the statistics are put back later: the backward pass wants them as they are

    def before_optimizer(self, optimizer: Optimizer) -> None:
        """Drop the gradients of a step with a loss that was not finite."""
        if not self._sound:
            self._put_back()
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None
        self._sound = True

    def _put_back(self) -> None:
        for x, before in self._statistics:
            x.copy_(before)

    def check_end(self, step: int) -> None:
        """Raises NonFiniteError where the run's last losses, or all of a short one's, were not finite."""
        if self.left_out and self.left_out >= min(LONGEST, step):
            raise NonFiniteError(f"training has failed: none of its {self.left_out} losses was finite. {MEND}")


MEND = "Lower the learning rate, clip gradients (gradient_clip_val), or look for NaN in the data"


def _running(network: nn.Module) -> list[Any]:
    layers = [m for m in network.modules() if isinstance(m, _NormBase)]
    found = [x for m in layers for x in (m.running_mean, m.running_var)]
    return [x for x in found if isinstance(x, torch.Tensor)]
