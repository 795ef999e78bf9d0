"""Uniformly narrower networks by their constructors: which arguments are sizes, and the widest within a budget."""

import pytest
import torch
from torch import nn

from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.network.plain import plain_complexity
from dyn_lightning.uniform import STEPS, Uniform, uniform_arguments


class Tagger(nn.Module):
    """Arguments of all kinds: three sizes, and what must stay."""

    def __init__(self, channels=(24, 36), dim=48, heads=4, layers=2, kernel=5, classes=3, bias=True) -> None:
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv1d(8, channels[0], kernel, padding=kernel // 2, bias=bias),
            nn.ReLU(),
            nn.Conv1d(channels[0], channels[1], 1),
            nn.ReLU(),
            nn.Conv1d(channels[1], dim, 1),
        )
        layer = nn.TransformerEncoderLayer(dim, heads, 2 * dim, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.out = nn.Linear(dim, classes)

    def forward(self, x):
        return self.out(self.encoder(self.front(x).transpose(1, 2)).mean(1))


def frames(network):
    return torch.zeros(1, 8, 20)


def test_sizes_are_found_and_nothing_else_and_divide_by_the_heads():
    sizes = Uniform(Tagger, {"kernel": 3}, frames, None)
    assert sizes.full == {"channels": (24, 36), "dim": 48}
    budget = 0.3 * sizes.complexity.flops_full_size()
    found, cost = sizes.within(budget)
    assert found["dim"] % 4 == 0
    assert cost <= budget
    # Independently: the network that they give costs that much, and the next wider one more than the budget.
    assert plain_complexity(Tagger(**found, kernel=3), frames(None), None).flops_full_size() == cost
    wider = next(sizes.at(s) for s in range(1, STEPS + 1) if sizes.at(s)["dim"] > found["dim"])
    assert plain_complexity(Tagger(**wider, kernel=3), frames(None), None).flops_full_size() > budget
    assert sizes.within(sizes.complexity.flops_full_size()) == (sizes.full, sizes.complexity.flops_full_size())


def test_a_share_of_the_learnable_flops_leaves_the_fixed_ones_out():
    state = torch.get_rng_state()
    found, cost, budget = uniform_arguments(CRNNVAD, {}, lambda n: torch.zeros(1, 16000), 1.0, share=0.25)
    assert torch.equal(torch.get_rng_state(), state)
    assert found == {"n_mels": 39, "channels": 39, "hidden_size": 123}  # of 80, 80, 256: half of each, for a quarter
    assert 0.99 * budget < cost <= budget


class Fixed(nn.Module):
    def __init__(self, kernel: int = 3) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(8, 16, kernel, padding=kernel // 2), nn.Conv1d(16, 2, 1)

    def forward(self, x):
        return self.b(self.a(x).relu())


class Floored(nn.Module):
    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        if dim < 32:
            raise ValueError("dim must be 32 or more")
        self.a, self.b = nn.Conv1d(8, dim, 1), nn.Conv1d(dim, 2, 1)

    def forward(self, x):
        return self.b(self.a(x).relu())


def test_what_cannot_be_is_one_line():
    with pytest.raises(ValueError, match=r"Fixed: no argument .* is a size .*Tried were kernel"):
        Uniform(Fixed, {}, frames, None)
    with pytest.raises(ValueError, match=r"Tagger: its narrowest uniform network costs .*, above the 10 "):
        uniform_arguments(Tagger, {}, frames, None, flops=10.0)
    with pytest.raises(ValueError, match=r"share must be positive|share must"):
        uniform_arguments(Floored, {}, frames, None, share=-1.0)


def test_a_constructor_s_least_size_is_the_least():
    full = Uniform(Floored, {}, frames, None).complexity.flops_full_size()
    assert uniform_arguments(Floored, {}, frames, None, flops=0.6 * full)[0] == {"dim": 38}
    with pytest.raises(ValueError, match="Floored: its narrowest uniform network costs"):
        uniform_arguments(Floored, {}, frames, None, flops=0.3 * full)
