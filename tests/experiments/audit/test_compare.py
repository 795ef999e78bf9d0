"""What other counters miss, by torch's own (always installed) and by ones that are made up."""

import importlib.metadata
import io
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from experiments.audit.compare import Audit, AuditRow, audit, audit_summary, audit_table, own_counts
from experiments.audit.counters import COUNTERS, Count, Counter

TORCH = next(counter for counter in COUNTERS if counter.distribution == "torch")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 6, 3)
        self.act = nn.SiLU()
        self.lstm = nn.LSTM(6, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.lstm(self.act(self.conv(x)).transpose(1, 2))
        return self.head(torch.nn.functional.scaled_dot_product_attention(x, x, x))


def test_what_torch_misses() -> None:
    result = audit(Net(), torch.zeros(1, 4, 20), [TORCH])
    (tool,) = result.tools
    rows = {row.name: row for row in result.rows}
    assert [rows[name].kind for name in ("conv", "act", "lstm", "head")] == ["Conv1d", "SiLU", "LSTM", "Linear"]
    assert rows["conv"].flops == 18 * 6 * (2 * 12 + 1)
    assert rows["conv"].counts["torch"] == 18 * 6 * 2 * 12
    assert rows["head"].counts["torch"] == 18 * 2 * 15
    assert "scaled_dot_product_attention" in rows[""].kind
    missed = [row.name for row in result.missed(tool)]
    assert {"act"} <= set(missed)
    assert "conv" not in missed
    assert result.missed_share(tool) == sum(rows[name].flops for name in missed) / result.flops
    assert {row.name for row in result.different(tool)} <= {"", "lstm"}  # biases are within what counts as agreement


def test_a_mac_is_two_flops() -> None:
    rows = (
        AuditRow("a", "Linear", 200.0, {"macs": 100.0, "flops": 100.0}),
        AuditRow("b", "ReLU", 10.0, {"macs": 0.0, "flops": 10.5}),
        AuditRow("c", "Dropout", 0.0, {"macs": 0.0, "flops": 3.0}),
    )
    macs, flops = Count("macs", "MACs", "1", by_module={"": 100}), Count("flops", "FLOPs", "2", by_module={"": 113})
    result = Audit(rows, (macs, flops), ())
    assert result.ratio(rows[0], macs) == 1.0
    assert result.ratio(rows[0], flops) == 0.5
    assert [row.name for row in result.missed(macs)] == ["b"]
    assert [row.name for row in result.different(macs)] == []
    assert [row.name for row in result.different(flops)] == ["a", "c"]
    assert result.missed_share(macs) == 10 / 210
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(audit_table(result))
    lines = console.export_text().splitlines()
    (line,) = (line for line in lines if "Linear" in line)
    assert "(0.50×)" in line
    assert line.count("×") == 1
    (line,) = (line for line in lines if "ReLU" in line)
    assert "missed" in line
    (line,) = (line for line in lines if "Dropout" in line)
    assert "(more)" in line
    assert audit_summary(result).splitlines()[0].startswith("macs 1, MACs: misses 1 of 3 layers with 4.8 %")


def test_functions_belong_to_the_module_that_calls_them() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x @ x.transpose(1, 2) @ x)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.inner(x))

    result = audit(Outer(), torch.zeros(1, 7, 4), [TORCH])
    rows = {row.name: row for row in result.rows}
    assert rows["inner"].flops == rows["inner"].counts["torch"] == 2 * (7 * 7 * 4) * 2
    assert rows["inner.linear"].counts["torch"] == 2 * 7 * 16
    assert "" not in rows


def test_own_counts() -> None:
    by_module = {"": 100.0, "a": 60.0, "a.b": 50.0, "a.b.c": 20.0, "ab": 7.0}
    assert own_counts(by_module, ["", "a", "a.b.c", "ab"]) == {"": 33.0, "a": 40.0, "a.b.c": 20.0, "ab": 7.0}
    assert own_counts({}, ["", "a"]) == {"": 0.0, "a": 0.0}


def test_what_is_not_installed_is_a_line() -> None:
    def never(library: Any, network: nn.Module, args: Any, kwargs: Any) -> dict[str, float]:
        raise AssertionError

    result = audit(Net(), torch.zeros(1, 4, 20), [TORCH, Counter("no-such-counter", "no_such_counter", "MACs", never)])
    assert audit_summary(result).splitlines()[-1] == "no-such-counter: not installed"
    assert [column.header for column in audit_table(result).columns][2:] == ["ours\nFLOPs", "torch\nFLOPs"]


@pytest.mark.parametrize("counter", COUNTERS, ids=lambda counter: counter.distribution)
def test_every_counter_sees_the_convolution(counter: Counter) -> None:
    pytest.importorskip(counter.module, exc_type=ImportError)
    result = audit(Net(), torch.zeros(1, 4, 20), [counter])
    (tool,) = result.tools
    assert tool.error is None
    assert tool.version == importlib.metadata.version(counter.distribution)
    (conv,) = (row for row in result.rows if row.name == "conv")
    assert conv not in result.missed(tool) + result.different(tool)
