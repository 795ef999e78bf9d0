"""Code that the example in evaluation mode does not run: training-only parts, branches, experts, methods."""

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.errors import SettingError, UserError


class Trained(nn.Module):
    """An auxiliary head, a written mask and a dropout mask of the full size, which training alone has."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.n, self.b, self.c = nn.Linear(24, 32), nn.BatchNorm1d(32), nn.Linear(32, 28), nn.Linear(28, 5)
        self.head, self.mask = nn.Linear(32, 5), nn.Parameter(torch.rand(32))
        self.kept = nn.Parameter(torch.rand(28))

    def forward(self, x: Tensor) -> Any:
        y = torch.relu(self.n(self.a(x)))
        if not self.training:
            return self.c(torch.relu(self.b(y)))
        y = y.clone()
        y[torch.rand(len(y)) < 0.5] = self.mask
        if torch.rand(()) < 0.5:  # a layer left out by chance
            y = F.dropout(y, 0.1)
        return self.c(torch.relu(self.b(y) * self.kept)), self.head(y)


class Branches(nn.Module):
    """Experts, of which a call uses one, and a branch for a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c, self.gate = nn.Linear(24, 32), nn.Linear(32, 5), nn.Linear(32, 32)
        self.experts = nn.ModuleList(nn.Linear(32, 32) for _ in range(2))

    def forward(self, x: Tensor, which: int = 0, mask: Tensor | None = None) -> Tensor:
        y = torch.relu(self.a(x))
        if mask is not None:
            y = y * self.gate(y).sigmoid() * mask
        return self.c(y + self.experts[which](y))


class NeedsTargets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Linear(24, 32), nn.Linear(32, 5)

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        assert target is not None or not self.training
        return self.c(torch.relu(self.a(x)))


class Remembers(nn.Module):
    """Draws its dropout mask once, in its first training call."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(24, 32), nn.Linear(32, 28), nn.Linear(28, 5)
        self.drawn: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.a(x))
        if self.training:
            if self.drawn is None:
                self.drawn = torch.ones_like(y[:1])
            y = y * self.drawn
        return self.c(torch.relu(self.b(y)))


def cut(dynamic: Any, lam: float = 0.5) -> Any:
    for width in dynamic.widths.values():
        width.set_lam(max(lam, width.lam_min))
    return dynamic


def test_what_training_alone_runs_follows_as_well() -> None:
    torch.manual_seed(0)
    net, one = Trained(), torch.randn(1, 24)
    statistics, state = net.n.running_mean.clone(), torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dynamic = dynamize(net, one)  # a batch of one is no obstacle
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(net.n.running_mean, statistics)
    assert net.n.num_batches_tracked == 0
    assert {name: w.full_size for name, w in dynamic.widths.items()} == {"a": 32, "b": 28}
    x = torch.randn(8, 24)
    for lam in (0.5, 0.61, 1.0, 0.3):
        y, auxiliary = cut(dynamic, lam).train()(x)
        (y.sum() + auxiliary.sum()).backward()
    cost = dynamic.complexity
    small, _ = consolidate(cut(dynamic).eval(), [x])
    assert cost.parameters_now() == sum(p.numel() for p in small.parameters())
    # the auxiliary head is not run in inference: it has parameters, and costs nothing
    assert cost.flops_full_size() == dynamize(net.eval(), one).complexity.flops_full_size()
    assert [row["flops_per_call_before"] for row in cost.table() if row["name"] == "head"] == [0]
    assert small.train()(x)[1].shape == (8, 5)


def test_what_no_run_has_used_stays_whole_and_is_named() -> None:
    net, x = Branches(), torch.randn(3, 24)
    with pytest.warns(UserWarning, match=r"no run has used gate, experts\.1: kept whole"):
        dynamic = dynamize(net, x)
    assert dynamic.fixed_reasons["experts.1"] == dynamic.fixed_reasons["gate"] == "no run has used it"
    assert dynamic(x, 1).shape == (3, 5)
    with pytest.raises(UserError, match=r"experts\.1 fails where sizes are cut .* more_examples=\[input\]"):
        cut(dynamic)(x, 1)


def test_more_examples_run_what_the_first_does_not() -> None:
    net, x = Branches(), torch.randn(3, 24)
    others = [{"x": x, "which": 1}, (x, 0, torch.ones(3, 1))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dynamic = dynamize(net, x, more_examples=others)
    # Costs are the first example's: neither the other expert nor the gate is in them.
    assert dynamic.complexity.flops_full_size() == 3 * (2 * (24 * 32 + 32 * 32 + 32 * 5) + 32 + 32 + 5 + 32 + 32)
    small, report = consolidate(cut(dynamic).eval(), [x, *others])
    assert report.batches == 3
    assert report.largest_relative_difference < 1e-5
    assert small.gate.weight.shape == small.experts[1].weight.shape == (16, 16)
    assert dynamic.complexity.parameters_now() == sum(p.numel() for p in small.parameters())
    for wrong in (x, (x, x), {"x": x}):
        with pytest.raises(SettingError, match="more_examples is a list"):
            dynamize(net, x, more_examples=wrong)


def test_training_mode_that_cannot_be_run_is_said() -> None:
    with pytest.warns(UserWarning, match=r"could not be run in training mode \(assert"):
        dynamic = dynamize(NeedsTargets(), torch.randn(2, 24))
    assert set(dynamic.widths) == {"a"}


def test_what_training_keeps_from_call_to_call_holds_its_size() -> None:
    with pytest.warns(UserWarning, match="at full size in training"):
        dynamic = dynamize(Remembers(), torch.randn(2, 24))
    assert set(dynamic.widths) == {"b"}
    assert dynamic.drawn is None
    for lam in (0.5, 0.8):
        cut(dynamic, lam).train()(torch.randn(2, 24))


def test_spectral_norms_that_iterate_in_training_follow() -> None:
    norm: Any = nn.utils.parametrizations.spectral_norm
    net = nn.Sequential(norm(nn.Conv1d(6, 8, 3)), nn.ReLU(), norm(nn.Conv1d(8, 7, 3)), nn.ReLU(), nn.Conv1d(7, 2, 1))
    assert {name: w.full_size for name, w in dynamize(net, torch.randn(2, 6, 9)).widths.items()} == {"0": 8, "2": 7}
