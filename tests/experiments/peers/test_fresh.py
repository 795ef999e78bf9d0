"""Networks of chosen sizes: the sizes asked for, weights as if made so."""

import pytest
import torch
from torch import nn

from dyn_lightning.dynamize import dynamize
from dyn_lightning.models.crnn_vad import CRNNVAD
from experiments.peers.fresh import fresh_network, random_sizes

EXAMPLE = torch.zeros(1, 4000)


def test_weights_are_drawn_for_the_sizes_that_they_have():
    torch.manual_seed(0)
    net = fresh_network(CRNNVAD(), EXAMPLE, {"mel": 20, "conv": 10, "gru-l0": 12, "gru-l1": 30})
    shapes = {name: tuple(p.shape) for name, p in net.named_parameters()}
    assert shapes["conv.weight"] == (10, 20, 3)
    assert shapes["linear.weight"] == (1, 30)
    for weight, fan_in in ((net.conv.weight, 60), (net.linear.weight, 30), (net.gru.layers[1].weight_hh_l0, 30)):
        assert 0.8 * fan_in**-0.5 < weight.abs().max().item() <= fan_in**-0.5
    assert not torch.equal(net.conv.weight, fresh_network(CRNNVAD(), EXAMPLE, {"mel": 20, "conv": 10}).conv.weight)


def test_random_sizes_cost_the_budget_and_differ():
    cost = dynamize(CRNNVAD(), EXAMPLE, duration_s=0.25).complexity
    budget = cost.fixed_flops() + 0.1 * cost.learnable_flops()
    found = [random_sizes(cost, budget, torch.Generator().manual_seed(s)) for s in range(5)]
    for sizes in found:
        assert cost.flops_at(sizes) == pytest.approx(budget, rel=0.02)
        assert all(1 <= n <= cost.full_sizes[name] for name, n in sizes.items())
    assert len({tuple(s.values()) for s in found}) == 5
    assert found[0] == random_sizes(cost, budget, torch.Generator().manual_seed(0))


def test_a_network_too_small_for_the_budget_says_so():
    cost = dynamize(nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 4)), torch.zeros(1, 4)).complexity
    with pytest.raises(ValueError, match="no sizes cost"):
        random_sizes(cost, 1.3 * cost.flops_at({"0": 1}), torch.Generator().manual_seed(0))
