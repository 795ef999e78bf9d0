"""Each counter that is installed, on layers whose count is known; torch's own always is."""

import io
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments.audit.counters import COUNTERS, Counter, run_counter

BY_NAME = {counter.distribution: counter for counter in COUNTERS}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv1d(4, 6, 3, bias=False), nn.ReLU())
        self.linear = nn.Linear(6, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.inner(x).transpose(1, 2))


@pytest.mark.parametrize("tool", list(BY_NAME))
def test_units_and_attribution(tool: str) -> None:
    counter = BY_NAME[tool]
    pytest.importorskip(counter.module, exc_type=ImportError)
    network = Net().train()
    keys = [list(module.__dict__) for module in network.modules()]
    state = list(network.state_dict())
    count = run_counter(counter, network, torch.zeros(2, 4, 20))
    assert count.error is None
    assert count.version
    assert count.unit == counter.unit
    conv, linear = 2 * 18 * 6 * 12, 2 * 18 * 30  # multiply-adds
    if tool == "torchinfo":
        linear = 2 * 30  # it takes a Linear to run once an item, whatever the frames
    per_mac = 2 if count.unit == "FLOPs" else 1
    expected = {"inner.0": conv * per_mac, "linear": linear * per_mac}
    if tool == "moduleprofiler":  # a sum of n products without a bias is 2n − 1
        expected = {"inner.0": 2 * 18 * 6 * 23, "linear": 2 * 18 * 5 * 11}
    assert {name: count.by_module[name] for name in expected} == expected
    assert count.by_module["inner"] >= expected["inner.0"]
    assert count.by_module[""] >= sum(expected.values())
    assert network.training
    assert [list(module.__dict__) for module in network.modules()] == keys
    assert list(network.state_dict()) == state
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


@pytest.mark.parametrize("tool", list(BY_NAME))
def test_several_inputs_are_counted_or_refused_by_name(tool: str) -> None:
    counter = BY_NAME[tool]
    pytest.importorskip(counter.module, exc_type=ImportError)

    class Two(Net):
        def forward(self, x: Tensor, gain: Tensor) -> Tensor:
            return super().forward(x) * gain

    inputs = {"x": torch.zeros(1, 4, 20), "gain": torch.ones(1)}
    for example in (tuple(inputs.values()), inputs):
        count = run_counter(counter, Two(), example)
        if count.error is None:
            assert count.by_module["inner.0"] > 0
        else:
            assert "positional" in count.error


def test_what_is_absent_or_fails_says_so() -> None:
    def fails(library: Any, network: nn.Module, args: Any, kwargs: Any) -> dict[str, float]:
        print("noise")
        print("noise", file=sys.stderr)
        raise KeyError("no such layer")

    absent = run_counter(Counter("no-such-counter", "no_such_counter", "MACs", fails), Net(), torch.zeros(1, 4, 9))
    assert (absent.version, absent.error, absent.by_module) == (None, "not installed", {})
    broken = run_counter(Counter("torch", "no_such_counter", "MACs", fails), Net(), torch.zeros(1, 4, 9))
    assert broken.error is not None
    assert "no_such_counter" in broken.error
    failed = run_counter(Counter("torch", "torch", "MACs", fails), Net(), torch.zeros(1, 4, 9))
    assert failed.error == "KeyError: 'no such layer'"


def test_counters_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    for counter in COUNTERS:
        run_counter(counter, Net(), torch.zeros(1, 4, 20))
    assert capsys.readouterr() == ("", "")
    assert not isinstance(sys.stdout, io.StringIO) or sys.stdout is not sys.stderr
