"""Torch-Pruning at a budget: within it, and no further below than a channel."""

import pytest
import torch
from torch import nn

from dyn_lightning.network.plain import plain_complexity
from experiments.peers.torch_pruning import pruned_to

pytest.importorskip("torch_pruning")


def cost(network: nn.Module) -> float:
    return plain_complexity(network, torch.zeros(1, 2, 20, 10), 1.0).flops_full_size()


def test_the_least_ratio_that_meets_the_budget():
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.BatchNorm2d(32), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2))
    example = torch.randn(2, 2, 20, 10)
    small = pruned_to(network, example, 0.3 * cost(network), 1.0)
    assert 0.25 * cost(network) < cost(small) <= 0.3 * cost(network)
    assert small(example).shape == network(example).shape
    assert network[0].out_channels == 32
    with pytest.raises(ValueError, match="does not come down to"):
        pruned_to(network, example, 1e-3 * cost(network), 1.0)
