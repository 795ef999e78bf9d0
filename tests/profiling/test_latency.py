"""The choice of a granularity, from timings that are made up: no test here depends on a clock."""

import math

import pytest
import torch
from torch import nn

from dyn_lightning import dynamize
from dyn_lightning.profiling.latency import (
    CANDIDATES,
    median_latencies_s,
    sizes_to_time,
    suggest_multiple_of,
    width_latencies_s,
)


def timings(cost, full_size: int = 128) -> dict[int, float]:
    return {size: 1e-3 * cost(size) for size in sizes_to_time(full_size)}


@pytest.mark.parametrize("unit", [2, 4, 8, 16, 32])
@pytest.mark.parametrize("overhead", [0.0, 20.0])
def test_stairs_give_their_step(unit: int, overhead: float) -> None:
    assert suggest_multiple_of(timings(lambda n: overhead / unit + math.ceil(n / unit), 8 * unit)) == unit


def test_smooth_and_flat_costs_ask_for_nothing() -> None:
    assert suggest_multiple_of(timings(lambda n: 5 + n)) == 1
    assert suggest_multiple_of(timings(lambda n: n**2)) == 1
    assert suggest_multiple_of(timings(lambda n: 100 + 0.001 * n)) == 1
    assert suggest_multiple_of({}) == 1


def test_sizes_that_run_slower_are_avoided() -> None:
    assert suggest_multiple_of(timings(lambda n: (100 + n) * (1.3 if n % 2 else 1.0))) == 2
    assert suggest_multiple_of(timings(lambda n: (100 + n) * (1.3 if n % 8 else 1.0))) == 8


def test_one_disturbed_timing_changes_nothing() -> None:
    smooth = timings(lambda n: 5 + n)
    for size in smooth:
        assert suggest_multiple_of(smooth | {size: 1.5 * smooth[size]}) == 1


@pytest.mark.parametrize("full_size", [8, 63, 64, 80, 256])
def test_sizes_to_time(full_size: int) -> None:
    sizes = sizes_to_time(full_size)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == full_size
    assert sizes[0] >= 1
    for unit in CANDIDATES:
        if 2 * unit <= full_size:
            last = full_size // unit * unit
            assert {last - unit, last - unit // 2, last} <= set(sizes)


def test_calls_take_turns_after_a_warm_up() -> None:
    order: list[str] = []
    found = median_latencies_s({n: lambda n=n: order.append(n) for n in "ab"}, repeats=3, warmup=1)
    assert order == ["a", "b"] * 4
    assert all(seconds >= 0 for seconds in found.values())


def network() -> nn.Module:
    return nn.Sequential(nn.Conv1d(4, 12, 3), nn.ReLU(), nn.Conv1d(12, 6, 3), nn.ReLU(), nn.Conv1d(6, 2, 1))


def test_each_width_is_timed_at_its_sizes() -> None:
    dynamic = dynamize(network(), torch.zeros(1, 4, 20)).train()
    dynamic.widths["0"].set_lam(0.5)
    found = width_latencies_s(dynamic, torch.zeros(1, 4, 20), {"2": [1, 3, 6]}, repeats=1)
    assert {name: list(of_width) for name, of_width in found.items()} == {"2": [1, 3, 6]}
    assert dynamic.training
    assert (dynamic.widths["0"].size, dynamic.widths["2"].size) == (6, 6)
    assert set(width_latencies_s(dynamic, torch.zeros(1, 4, 20), others="full", repeats=1)) == {"0", "2"}
    with pytest.raises(ValueError, match=r"called 7; there are 0, 2"):
        width_latencies_s(dynamic, torch.zeros(1, 4, 20), {"7": [1]})


def test_the_others_have_the_sizes_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    channels: list[int] = []

    def call(small: nn.Sequential, example: object) -> object:
        channels.append(small[0].out_channels)
        return lambda: None

    monkeypatch.setattr("dyn_lightning.profiling.latency.inference_call", call)
    dynamic = dynamize(network(), torch.zeros(1, 4, 20))
    dynamic.widths["0"].set_lam(0.5)
    for others in ("now", "full"):
        width_latencies_s(dynamic, torch.zeros(1, 4, 20), {"2": [3]}, others=others, repeats=1)
    assert channels == [6, 12]
