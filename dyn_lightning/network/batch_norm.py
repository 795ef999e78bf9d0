"""Batch normalisation statistics that fit the sizes in use."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dyn_lightning.inputs import evaluating


def batch_norms(network: nn.Module) -> list[Any]:
    """Its BatchNorm layers with running statistics."""
    return [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def has_statistics(network: nn.Module) -> bool:
    """Whether a network has BatchNorm layers with running statistics."""
    return bool(batch_norms(network))


@torch.no_grad()
def reestimate(network: nn.Module, inputs: list[Any]) -> None:
    """Set BatchNorm statistics to the mean over batches of the batches' own, in evaluation otherwise.

    A batch whose statistics are not finite is left out; where none is finite, the statistics stay as they were.

    Args:
        network: any network; its mode is put back.
        inputs: inputs of the network.
    """
    layers = batch_norms(network)
    if not layers:
        return
    momenta = {layer: layer.momentum for layer in layers}
    statistics = [x for layer in layers for x in (layer.running_mean, layer.running_var, layer.num_batches_tracked)]
    first = [x.clone() for x in statistics]
    counted = 0
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative average
    try:
        with evaluating(network):
            for layer in layers:
                layer.training = True  # not train(): the widths must stay as in evaluation
            for x in inputs:
                before = [x.clone() for x in statistics]
                network(x)
                sound = all(bool(x.isfinite().all()) for x in statistics)
                counted += sound
                if not sound:
                    _put_back(statistics, before)
    finally:
        if not counted:
            _put_back(statistics, first)
        for layer, momentum in momenta.items():
            layer.momentum = momentum


def _put_back(statistics: list[Tensor], before: list[Tensor]) -> None:
    for x, old in zip(statistics, before, strict=True):
        x.copy_(old)
