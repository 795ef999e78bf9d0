import copy
import json
import math

import pytest
import torch
from torch import nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.modules.stacked_rnn import StackedRNN


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inp = nn.Linear(3, 6)
        self.rnn = nn.GRU(6, 8, 2, batch_first=True, dropout=0.25)
        self.out = nn.Linear(8, 2)
        self.label = "kept"
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x):
        return self.scale * self.out(self.rnn(self.inp(x))[0])


@pytest.fixture
def dynamic():
    torch.manual_seed(0)
    return dynamize(Recurrent(), torch.randn(2, 5, 3), duration_s=0.5)


def test_report(dynamic) -> None:
    for name, size in {"inp": 4, "rnn-l0": 3, "rnn-l1": 5}.items():
        dynamic.widths[name].freeze(size)
    small, report = consolidate(dynamic, (torch.randn(2, n, 3) for n in (4, 7)))
    assert report.batches == 2
    assert report.sizes == {"inp": (4, 6), "rnn-l0": (3, 8), "rnn-l1": (5, 8)}
    assert report.parameters_before == sum(p.numel() for p in Recurrent().parameters())
    assert report.parameters == 3 * 4 + 4 + 3 * (4 * 3 + 9 + 6) + 3 * (3 * 5 + 25 + 10) + 5 * 2 + 2
    assert report.parameters == sum(p.numel() for p in small.parameters())
    assert report.unit == "flops_per_second"
    assert report.flops < report.flops_before
    assert report.flops_paper < report.flops_paper_before
    assert report.largest_difference is not None
    assert report.largest_difference < 1e-5
    assert json.loads(json.dumps(report.as_dict()))["parameters"] == report.parameters
    assert {row["name"] for row in report.layers} >= {"inp", "rnn", "out"}
    assert isinstance(small.rnn, StackedRNN)
    assert small.rnn.dropout == 0.25


def test_without_batches_nothing_is_compared(dynamic) -> None:
    _, report = consolidate(dynamic)
    assert (report.largest_difference, report.largest_relative_difference, report.batches) == (None, None, 0)


def test_kept_sizes_are_those_of_evaluation(dynamic) -> None:
    dynamic.widths["inp"].set_lam(0.6)  # K = 3.6
    dynamic.train()
    small, report = consolidate(dynamic, [torch.randn(2, 5, 3)])
    assert small.inp.out_features == 3
    assert report.largest_relative_difference < 1e-5
    assert dynamic.training
    assert dynamic.widths["inp"].training
    assert small.training


def test_both_networks_go_their_own_ways(dynamic) -> None:
    before = copy.deepcopy(dynamic.state_dict())
    small, _ = consolidate(dynamic, [torch.randn(2, 5, 3)])
    assert isinstance(small, Recurrent)
    assert type(small) is Recurrent
    assert small.label == "kept"
    assert not {"widths", "complexity", "duration_s", "fixed_reasons", "plain_class"} & set(vars(small))
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.zero_()
        small.scale.zero_()
    assert all(torch.equal(v, before[k]) for k, v in dynamic.state_dict().items())
    small(torch.randn(2, 5, 3)).sum().backward()


def test_the_small_network_learns_on(dynamic) -> None:
    dynamic.widths["rnn-l0"].freeze(3)
    dynamic.out.bias.requires_grad_(False)
    small, _ = consolidate(dynamic)
    assert not small.out.bias.requires_grad
    small(torch.randn(2, 5, 3)).square().sum().backward()
    assert all(p.grad is not None for n, p in small.named_parameters() if n != "out.bias")


def test_a_difference_is_not_hidden_by_values_that_are_no_numbers() -> None:
    class Broken(nn.Module):
        """Answers NaN once its hidden layer has been taken out of the dynamic network."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.broken = nn.Linear(2, 4), nn.Linear(4, 1), False

        def forward(self, x):
            y = self.b(self.a(x))
            return y * math.nan if self.broken and type(self.a) is nn.Linear else y

    dynamic = dynamize(Broken(), torch.randn(3, 2))
    dynamic.broken = True
    _, report = consolidate(dynamic, [torch.randn(3, 2)])
    assert report.largest_difference == math.inf


@pytest.mark.parametrize("function", [lambda y: y > 0, lambda y: y.argmax(-1), lambda y: y[:0], lambda y: y / 0])
def test_outputs_of_every_kind_are_compared(function) -> None:
    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 4), nn.Linear(4, 3)

        def forward(self, x):
            return function(self.b(self.a(x)))

    dynamic = dynamize(Decides(), torch.randn(3, 2))
    dynamic.widths["a"].freeze(2)
    _, report = consolidate(dynamic, [torch.randn(3, 2)])
    assert report.largest_difference == 0.0


def test_only_dynamic_networks_are_taken() -> None:
    with pytest.raises(TypeError, match="Linear has no widths"):
        consolidate(nn.Linear(2, 2))
