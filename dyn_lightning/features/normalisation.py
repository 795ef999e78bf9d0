"""Normalisation of features over time: by the utterance's own statistics, or by those of the training data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dyn_lightning.errors import SettingError


class UtteranceNorm(nn.Module):
    """Each row minus its mean over the utterance, over its standard deviation where ``variance`` asks for it.

    (x − mean) / √(var + eps), with the biased variance. Padding counts as audio: give utterances of one length.

    Shapes: (batch, rows, frames) → the same.
    """

    def __init__(self, variance: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        self.variance = variance
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        if not self.variance:
            return x
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)

    def extra_repr(self) -> str:
        return f"variance={self.variance}, eps={self.eps}"


class RunningNorm(nn.Module):
    """Each row by the mean and variance of the training data, gathered as it trains.

    (x − running_mean) / √(running_var + eps), in training as in evaluation, so that an utterance's features do not
    depend on its batch; no gradient flows through the statistics. Every training batch moves them by ``momentum``,
    the first 1/momentum batches by equal shares: mean' = mean + f·(m − mean), var' the variance of the mixture.

    In distributed training they are those of the first process's batches, which DDP gives to the others before
    each step (``broadcast_buffers``, its default).

    Shapes: (batch, n_rows, frames) → the same.

    Raises:
        SettingError: if ``momentum`` is not in (0, 1].
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches: Tensor

    def __init__(self, n_rows: int, momentum: float = 0.01, eps: float = 1e-5) -> None:
        super().__init__()
        if not 0.0 < momentum <= 1.0:
            raise SettingError(f"momentum must be in (0, 1], got {momentum}")
        self.n_rows = n_rows
        self.momentum = momentum
        self.eps = eps
        self.register_buffer("running_mean", torch.zeros(n_rows))
        self.register_buffer("running_var", torch.ones(n_rows))
        self.register_buffer("num_batches", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Count one batch (batch, n_rows, frames)."""
        variance, mean = torch.var_mean(x.to(self.running_mean.dtype), dim=(0, 2), correction=0)
        self.num_batches += 1
        share = self.num_batches.reciprocal().clamp_min(self.momentum)
        apart = mean - self.running_mean
        self.running_mean += share * apart
        self.running_var += share * (variance - self.running_var + (1 - share) * apart.square())

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.update(x)
        # Copies, for the next batch changes the buffers in place while this one's gradient may still be due.
        scale = torch.rsqrt(self.running_var + self.eps)[:, None]
        return (x - self.running_mean[:, None]) * scale

    def extra_repr(self) -> str:
        return f"n_rows={self.n_rows}, momentum={self.momentum}, eps={self.eps}"
