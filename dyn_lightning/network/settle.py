"""Weights behind a resampled width, such as the bands of a filter bank, once its size is final."""

from __future__ import annotations

import torch
from torch import nn

from dyn_lightning.network.dynamic import DynamicNetwork, learned_tensors
from dyn_lightning.widths.width import Width


@torch.no_grad()
def settle_samples(network: DynamicNetwork) -> list[nn.Parameter]:
    """Store the weights behind frozen resampled widths at the sizes that they have now; those changed.

    Until then each weight that a layer uses is a sum of several stored ones, which move together: an optimiser's step
    of the weight is as many times as large, and the best learning rate so many times smaller than of plain layers.
    """
    changed: list[nn.Parameter] = []
    for x, dims in learned_tensors(network):
        for dim, layout in enumerate(dims):
            if not isinstance(x, nn.Parameter) or layout is None:
                continue
            if any(w.resampled and w.frozen for w in layout.widths):
                kept = layout.take(x.data, dim, kept=True)
                x.data.narrow(dim, 0, kept.shape[dim]).copy_(kept)
                changed.append(x)
    for width in network.modules():
        if isinstance(width, Width) and width.resampled and width.frozen:
            width.set_samples(width.size)
    return changed
