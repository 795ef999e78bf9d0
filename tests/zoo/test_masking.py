"""The zoo's reference must see a channel that is joined to the wrong column."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.zoo.masking import all_different, difference_from_masked, kept_entries, relative_difference

KEPT = torch.tensor([0, 1, 3, 4])


@pytest.fixture
def whole() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(4, 6, 3), nn.GroupNorm(2, 6), nn.ReLU(), nn.Conv1d(6, 8, 1), nn.LayerNorm(7))
    all_different(net)
    return net


def without_two_channels(whole: nn.Sequential, columns: torch.Tensor) -> nn.Sequential:
    small = copy.deepcopy(whole)
    small[0], small[1], small[3] = nn.Conv1d(4, 4, 3), nn.GroupNorm(2, 4), nn.Conv1d(4, 8, 1)
    with torch.no_grad():
        for i in (0, 1):
            small[i].weight.copy_(whole[i].weight[KEPT])
            small[i].bias.copy_(whole[i].bias[KEPT])
        small[3].weight.copy_(whole[3].weight[:, columns])
        small[3].bias.copy_(whole[3].bias)
    return small


def test_values_all_differ(whole: nn.Sequential) -> None:
    for p in whole.parameters():
        assert p.unique().numel() == p.numel()


def test_what_was_kept_is_read_off_the_values(whole: nn.Sequential) -> None:
    kept = kept_entries(whole, without_two_channels(whole, KEPT))
    assert kept["0.weight"].flatten(1).all(1).tolist() == [True, True, False, True, True, False]
    assert kept["1.bias"].tolist() == [True, True, False, True, True, False]
    assert kept["3.weight"][:, :, 0].all(0).tolist() == [True, True, False, True, True, False]
    assert kept["4.weight"].all()


def test_right_columns_are_equal_and_wrong_ones_are_not(whole: nn.Sequential) -> None:
    example = torch.randn(2, 4, 9)
    assert difference_from_masked(whole, without_two_channels(whole, KEPT), example) < 1e-6
    shifted = without_two_channels(whole, torch.tensor([0, 1, 2, 3]))
    assert difference_from_masked(whole, shifted, example) > 1e-2


def test_foreign_values_are_an_error(whole: nn.Sequential) -> None:
    small = without_two_channels(whole, KEPT)
    nn.init.normal_(small[3].weight)
    with pytest.raises(LookupError, match=r"3\.weight"):
        kept_entries(whole, small)


def test_head_size_that_attention_divides_by() -> None:
    """Scores over the root of the head size left: equal only when that is taken into account."""

    class Attention(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.heads, self.q, self.k = 2, nn.Linear(5, 2 * size), nn.Linear(5, 2 * size)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k = (layer(x).unflatten(-1, (2, -1)).transpose(1, 2) for layer in (self.q, self.k))
            return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)

    torch.manual_seed(0)
    whole, small = Attention(6), Attention(2)
    all_different(whole)
    rows = torch.tensor([0, 1, 6, 7])
    with torch.no_grad():
        for name in ("q", "k"):
            getattr(small, name).weight.copy_(getattr(whole, name).weight[rows])
            getattr(small, name).bias.copy_(getattr(whole, name).bias[rows])
    assert difference_from_masked(whole, small, torch.randn(3, 4, 5)) < 1e-6


def test_relative_difference() -> None:
    one = [torch.tensor([1.0, 4.0]), torch.tensor([0.01])]
    other = [torch.tensor([1.0, 5.0]), torch.tensor([0.02])]
    assert relative_difference(one, other) == pytest.approx(1 / 5)
    assert relative_difference(one[1:], other[1:]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="shapes differ"):
        relative_difference(one, one[::-1])
