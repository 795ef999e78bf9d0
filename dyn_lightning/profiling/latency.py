"""What widths cost on this machine: latency by size, and the granularity that suits the hardware."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.errors import SettingError
from dyn_lightning.inputs import call_arguments
from dyn_lightning.network import DynamicNetwork

CANDIDATES = (32, 16, 8, 4, 2)
"""Granularities that hardware may like, in elements: vector registers and blocks of matrix products."""
FREE_SHARE = 0.85
"""Share of the latency between two multiples that half of the elements must cost for the other half to be free."""
LEAST_STEP = 0.04
"""Growth of latency between neighbouring multiples under which there is nothing to gain, or to tell from noise."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch's operations on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def median_latencies_s(calls: Mapping[Any, Callable[[], Any]], repeats: int, warmup: int = 2) -> dict[Any, float]:
    """Median duration of each call in seconds. They take turns, so that other load falls on all alike."""
    times: dict[object, list[float]] = {name: [] for name in calls}
    for repeat in range(warmup + repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if repeat >= warmup:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def inference_call(network: nn.Module, example_input: object) -> Callable[[], None]:
    """A call of a network in inference, its results waited for where it runs on a GPU."""
    args, kwargs = call_arguments(example_input)
    on_gpu = any(p.is_cuda for p in network.parameters())
    network.eval()

    @torch.inference_mode()
    def call() -> None:
        network(*args, **kwargs)
        if on_gpu:
            torch.cuda.synchronize()

    return call


def width_latencies_s(
    dynamic: DynamicNetwork,
    example_input: Any,
    sizes: Mapping[str, Sequence[int]] | None = None,
    *,
    others: Literal["now", "full"] = "now",
    repeats: int = 15,
) -> dict[str, dict[int, float]]:
    """Latency of the consolidated network by the size of each width, the others held; one thread, medians.

    Args:
        dynamic: what ``dynamize`` has made; left as it was.
        example_input: what a call gets, as ``dynamize`` takes it.
        sizes: by name of the width, the sizes to time; None: for each width :func:`sizes_to_time`.
        others: whether the other widths have the sizes that consolidation would keep, or their full ones.
        repeats: calls of each network.

    Returns:
        For each width, size in elements → seconds of a call.

    Raises:
        SettingError: for a name that no width has.
    """
    wanted = {n: sizes_to_time(w.full_size) for n, w in dynamic.widths.items()} if sizes is None else sizes
    unknown = sorted(set(wanted) - set(dynamic.widths.keys()))
    if unknown:
        raise SettingError(
            f"sizes: no width is called {', '.join(unknown)}; there are {', '.join(dynamic.widths.keys())}"
        )
    found = {}
    for name, of_width in wanted.items():
        calls = {}
        for size in of_width:
            trial = copy.deepcopy(dynamic).eval()
            for other in trial.widths.values():
                other.freeze(other.full_size if others == "full" else other.size)
            width = trial.widths[name]
            width.limit(multiple_of=width.granularity)
            width.freeze(-(-size // width.granularity) * width.granularity)
            calls[width.size] = inference_call(consolidate(trial)[0], example_input)
        with one_thread():
            found[name] = dict(sorted(median_latencies_s(calls, repeats).items()))
    return found


def sizes_to_time(full_size: int, candidates: Sequence[int] = CANDIDATES) -> list[int]:
    """Sizes that :func:`suggest_multiple_of` compares: multiples, their predecessors and what lies half-way."""
    sizes = {full_size}
    for unit in candidates:
        for quarter in (1, 2, 3, 4):
            multiple = full_size * quarter // 4 // unit * unit
            if multiple > unit:
                sizes |= {multiple - unit, multiple - unit // 2, multiple}
    return sorted(sizes)


def suggest_multiple_of(latency_s: Mapping[int, float], candidates: Sequence[int] = CANDIDATES) -> int:
    """The granularity at which a width's sizes are cheap, from latencies by size.

    Between two neighbouring multiples of a unit, half of the elements cost half of the latency where cost is
    smooth. Where they cost all of it (or more: odd sizes can be slower), the other half is free, and sizes
    between multiples waste it. The largest such unit is given; 1 where there is none, or where latency hardly
    depends on the size.

    Args:
        latency_s: size in elements → seconds; multiples, predecessors and half-ways of any of the candidates.
        candidates: units to choose from.

    Returns:
        what the callback ``LambdaClamp`` or the width's ``limit`` takes.
    """
    for unit in sorted(candidates, reverse=True):
        triples = [
            (latency_s[multiple - unit], latency_s[multiple - unit // 2], latency)
            for multiple, latency in latency_s.items()
            if multiple % unit == 0 and {multiple - unit, multiple - unit // 2} <= latency_s.keys()
        ]
        if not triples:
            continue
        # Over a least step, as an odd size may be slow where its even neighbours cost alike. The median, as something
        # else on the machine may have slowed one of the networks.
        shares = [(between - below) / max(at - below, LEAST_STEP * at) for below, between, at in triples]
        if statistics.median(shares) >= FREE_SHARE:
            return unit
    return 1
