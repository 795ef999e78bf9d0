"""Calls without a price are named wherever a cost is given, and a budget is kept only where they are allowed."""

import copy

import pytest
import torch
from torch import nn

from dyn_lightning.costs.uncounted import in_words, refuse_uncounted
from dyn_lightning.dynamize import dynamize
from dyn_lightning.errors import SettingError
from dyn_lightning.network.plain import plain_complexity
from dyn_lightning.objectives import FlopsBudget


class Mystery(nn.Module):
    def forward(self, x):
        return x * torch.matrix_exp(x.T @ x / x.numel()).detach().mean()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(8, 6), nn.Sequential(Mystery(), Mystery()), nn.Linear(6, 2)

    def forward(self, x):
        return self.last(self.inner(self.first(x)))


CALL = "inner.0.matrix_exp (matrix_exp)"


def test_dynamize_and_plain_complexity_name_call_and_place():
    pattern = r"inner\.0\.matrix_exp \(matrix_exp\), inner\.1\.matrix_exp"
    for count in (
        lambda: dynamize(free(), torch.randn(3, 8)),
        lambda: plain_complexity(Net(), torch.randn(3, 8), None),
    ):
        with pytest.warns(UserWarning, match=pattern):
            found = count()
    assert CALL in getattr(found, "complexity", found).uncounted
    with pytest.warns(UserWarning, match="no price"):
        assert "inner.1.matrix_exp" in repr(dynamize(free(), torch.randn(3, 8)))
    assert "no price" not in repr(dynamize(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), torch.randn(2, 3)))


def free():
    """A network whose call without a price stands beside what is learned."""
    net = Net()
    net.first = nn.Sequential(nn.Linear(8, 5), nn.Linear(5, 6))
    return net


@pytest.mark.filterwarnings("ignore:dynamize")
def test_a_budget_refuses_what_it_cannot_count():
    network = dynamize(free(), torch.randn(3, 8))
    with pytest.raises(SettingError, match=r"inner\.0\.matrix_exp.*allow_uncounted: \[matrix_exp\]"):
        FlopsBudget(share=0.5).check(network)
    with pytest.raises(SettingError, match="no price"):
        FlopsBudget(share=0.5)(network, torch.tensor(1.0), 0.5)
    with pytest.raises(SettingError, match=r"inner\.1"):
        FlopsBudget(share=0.5, allow_uncounted=["inner.0.*"]).check(network)
    for allowed in (["matrix_exp"], ["inner.*"], [CALL, CALL.replace("0", "1")]):
        FlopsBudget(share=0.7, allow_uncounted=allowed).check(network)
    with pytest.raises(SettingError, match="list"):
        FlopsBudget(share=0.5, allow_uncounted="matrix_exp")
    assert copy.deepcopy(network).complexity.uncounted == network.complexity.uncounted


def test_words():
    assert in_words(["a.x (x)", "b.x (x)", "a.x (x)"]) == "a.x (x) ×2, b.x (x)"
    assert in_words([f"m{i}.x (x)" for i in range(12)]).endswith("and 2 more")
    refuse_uncounted((), ())
