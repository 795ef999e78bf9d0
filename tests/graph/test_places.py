"""The line of the network's own code: of a call that runs, and of an error."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning import dynamize
from dyn_lightning.graph.places import line_now, line_of_error

FILE = Path(__file__).name


def line_of(function: object, text: str) -> str:
    """Where a line stands in this file."""
    lines, first = inspect.getsourcelines(function)  # type: ignore[arg-type]
    (at,) = [i for i, line in enumerate(lines) if text in line]
    return f"({FILE}:{first + at})"


class Viewed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.free, self.out = nn.LSTM(5, 8, batch_first=True), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(x)
        y = y.reshape(
            -1,
            8,
        )
        return self.out(torch.relu(self.free(y)))


class Cut(Viewed):
    def forward(self, x: Tensor) -> Tensor:
        y = self.lstm(x)[0].tanh()
        assert y.shape[-1] == 8, "eight"
        return self.out(self.free(y))


class Table(nn.Module):
    """A bare parameter alone has the sizes of its table."""

    def __init__(self) -> None:
        super().__init__()
        self.free, self.out, self.table = nn.Linear(5, 6), nn.Linear(6, 2), nn.Parameter(torch.randn(5, 7))

    def forward(self, x: Tensor) -> Tensor:
        gate = (x @ self.table).flip(-1).sum(-1, keepdim=True)
        return self.out(self.free(x * gate))


def test_a_view_is_blamed_by_its_line() -> None:
    dynamic = dynamize(Viewed(), torch.randn(2, 3, 5))
    assert set(dynamic.widths) == {"free"}
    reason = dynamic.fixed_reasons["lstm-l0"]
    assert reason.startswith("the code of the network gives it as a number (8) ")
    assert reason.endswith(line_of(Viewed.forward, "y.reshape("))


def test_what_fails_when_cut_is_blamed_by_its_line() -> None:
    dynamic = dynamize(Cut(), torch.randn(2, 3, 5))
    assert set(dynamic.widths) == {"free"}
    assert dynamic.fixed_reasons["lstm-l0"].endswith(line_of(Cut.forward, "assert"))


def test_sizes_of_bare_parameters_are_listed() -> None:
    dynamic = dynamize(Table(), torch.randn(3, 5))
    assert set(dynamic.widths) == {"free"}
    assert dynamic.fixed_reasons["table-1"].endswith(line_of(Table.forward, "flip"))


def test_no_line_outside_the_run() -> None:
    def start() -> str:
        return line_now(start.__code__)

    assert start() == ""  # only what start calls is the network's
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(2) + torch.zeros(3)
    assert line_of_error(caught.value, start.__code__) == ""
