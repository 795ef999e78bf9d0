"""Pruning by magnitude: norms by hand, one threshold for all sizes, a cost within the budget."""

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.dynamize import dynamize
from experiments.peers.ranking import magnitudes, sizes_above_threshold


class Branches(nn.Module):
    """Two layers joined, and one that reads both."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(5, 4), nn.Linear(5, 6), nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.cat([self.a(x), self.b(x)], 1))


def test_norms_are_of_all_that_goes_with_an_element():
    torch.manual_seed(0)
    net = Branches()
    dynamic = dynamize(net, torch.zeros(1, 5))
    found = magnitudes(dynamic)
    for name, layer, read in (("a", net.a, net.out.weight[:, :4]), ("b", net.b, net.out.weight[:, 4:])):
        norm = (layer.weight.square().sum(1) + layer.bias.square() + read.square().sum(0)).sqrt()
        torch.testing.assert_close(found[name], (norm / norm.mean()).detach())


def test_one_threshold_cuts_all_sizes_to_the_budget():
    dynamic = dynamize(Branches(), torch.zeros(1, 5))
    scores = {"a": torch.tensor([4.0, 3.0, 2.0, 1.0]), "b": torch.tensor([3.5, 2.5, 1.5, 0.9, 0.8, 0.7])}
    cost = dynamic.complexity
    for kept in ({"a": 3, "b": 2}, {"a": 2, "b": 2}, {"a": 4, "b": 4}, {"a": 1, "b": 1}):
        assert sizes_above_threshold(dynamic, scores, cost.flops_at(kept)) == kept
    between = (cost.flops_at({"a": 2, "b": 2}) + cost.flops_at({"a": 3, "b": 2})) / 2
    assert sizes_above_threshold(dynamic, scores, between) == {"a": 2, "b": 2}


def test_a_size_that_cannot_be_ranked_follows_the_others():
    dynamic = dynamize(Branches(), torch.zeros(1, 5))
    scores = {"b": torch.arange(6, 0, -1.0)}
    budget = dynamic.complexity.flops_at({"a": 2, "b": 3})
    assert sizes_above_threshold(dynamic, scores, budget) == pytest.approx({"a": 2, "b": 3})
