"""Functions and layers called in forms that no rule knows, and code that stops without a word."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.errors import SettingError


def hidden(n: Any, x: Tensor) -> Tensor:
    return torch.relu(n.b(torch.relu(n.a(x))))


def where(n: Any, x: Tensor) -> Tensor:
    y = hidden(n, x)
    return n.c(y) + torch.where(y > 0)[0].sum() * 0


def asserts(n: Any, x: Tensor) -> Tensor:
    y = n.a(x)
    assert y.shape[-1] in (8,)
    return n.c(torch.relu(n.b(torch.relu(y))))


def fails(n: Any, x: Tensor) -> Tensor:
    y = n.a(x)
    if y.shape[-1] != 8:
        raise ValueError
    return n.c(torch.relu(n.b(y)))


def odd_forms(n: Any, x: Tensor) -> Tensor:
    y = hidden(n, x)
    y = y.movedim((0, 1), (1, 0)).movedim((1, 0), (0, 1))
    y = torch.cat((y,), dim=-1).unsqueeze(dim=0).squeeze((0,))
    return n.c(y + torch.tensordot(y, y.new_zeros(y.shape[-1]), dims=1)[:, None] + y.std(unbiased=False) * 0)


def made(Net: Any, run: Any) -> Any:
    return Net(run, a=nn.Linear(3, 8), b=nn.Linear(8, 6), c=nn.Linear(6, 2))


@pytest.mark.filterwarnings("ignore:dynamize")
@pytest.mark.parametrize(("run", "expected"), [(asserts, {"b"}), (odd_forms, {"a"})])
def test_no_form_breaks_dynamize(run: Any, expected: set[str], Net: Any, check: Any) -> None:
    check(made(Net, run), torch.randn(4, 3), expected)


@pytest.mark.filterwarnings("ignore:dynamize")
@pytest.mark.parametrize(("run", "reason"), [(where, "function where"), (fails, r"at full size \(ValueError\)")])
def test_errors_without_words_are_named(run: Any, reason: str, Net: Any) -> None:
    with pytest.raises(SettingError, match=reason):
        dynamize(made(Net, run), torch.randn(4, 3))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")
def test_weight_norm_over_all_dimensions(old: bool, Net: Any, check: Any) -> None:
    norm: Any = nn.utils.weight_norm if old else nn.utils.parametrizations.weight_norm
    net = Net(
        lambda n, x: n.c(torch.relu(n.b(torch.relu(n.a(x))))),
        a=norm(nn.Linear(3, 8), dim=None), b=norm(nn.Linear(8, 6)), c=nn.Linear(6, 2),
    )  # fmt: skip
    check(net, torch.randn(4, 3))


class Positions(nn.Module):
    """A table of which the example reads the first rows."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.l, self.m, self.h = nn.Linear(3, 8), nn.Linear(8, 6), nn.Linear(6, 2)
        if kind == "parameter":
            self.table: Any = nn.Parameter(torch.randn(1, 20, 8))
        elif kind == "buffer":
            self.register_buffer("table", torch.randn(1, 20, 8))
        else:
            self.table = nn.Embedding(20, 8)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[1]
        rows = self.table.weight[None, :n] if self.kind == "embedding" else self.table[:, :n]
        return self.h(torch.relu(self.m(F.relu(self.l(x) + rows))))


@pytest.mark.parametrize("kind", ["parameter", "buffer", "embedding"])
def test_rows_beyond_the_example_are_left(kind: str, check: Any) -> None:
    dynamic = check(Positions(kind), torch.randn(2, 5, 3), {"l", "m"})
    for width in dynamic.widths.values():
        width.freeze(width.full_size // 2)
    small, _ = consolidate(dynamic.eval())
    longer = torch.randn(2, 20, 3)
    torch.testing.assert_close(small(longer), dynamic(longer))
