"""What each layer costs, what it sees of the input, and how late and how fast a streaming call answers."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.module import DynamicModule
from dyn_lightning.network import DynamicNetwork
from dyn_lightning.profiling.latency import (
    inference_call,
    median_latencies_s,
    one_thread,
    suggest_multiple_of,
    width_latencies_s,
)
from dyn_lightning.profiling.receptive_field import WHOLE, ReceptiveField, receptive_fields
from dyn_lightning.profiling.tables import parts_that_fit

GROUPS = (2, 2, 2, 2, 1, 1, 1, 1)
"""How many columns of the profile's table stay together: a cost and what is kept of it."""

NARROW = 8
"""Elements of each width when fields are measured: what is seen does not depend on how many look."""


def network_fields(network: nn.Module, example_input: object, *, time_dim: int = -1) -> dict[str, ReceptiveField]:
    """Receptive fields of a plain or dynamic network's modules; see :func:`receptive_fields`.

    A dynamic one is measured at a few elements of each width, which takes a fraction of the time.
    """
    if not isinstance(network, DynamicNetwork):
        return receptive_fields(network, example_input, time_dim=time_dim)
    narrow: Any = copy.deepcopy(network)
    for width in narrow.widths.values():
        width.freeze(min(max(NARROW, width.multiple_of), width.full_size))
    return receptive_fields(consolidate(narrow)[0], example_input, time_dim=time_dim)


@dataclass(frozen=True)
class StreamingCall:
    """How a network answers a stream.

    Attributes:
        field: receptive field of its output.
        steps: of the input (samples or frames), in the call that was timed.
        latency_s: median duration of that call in seconds, on one thread.
        reason: why the call has this length.
    """

    field: ReceptiveField
    steps: int
    latency_s: float
    reason: str


def time_streaming_call(
    network: nn.Module, example_input: Tensor, field: ReceptiveField, *, time_dim: int = -1, repeats: int = 20
) -> StreamingCall:
    """Time the call that gives one new output.

    A network with a bounded field needs that much input. One with an unbounded past carries it as a state, so
    that the shortest input with an output costs what a step costs. One that looks at the whole input is called
    on the example.

    Args:
        network: plain torch.nn.
        example_input: a tensor with time in ``time_dim``.
        field: of the network's output.
        time_dim: dimension of time.
        repeats: calls.
    """
    length = example_input.shape[time_dim]
    if math.isfinite(field.size):
        steps, reason = min(length, math.ceil(field.size)), "the receptive field of one output"
    elif math.isfinite(field.right):
        steps, reason = _shortest(network, example_input, time_dim), "the shortest with an output: the past is a state"
    else:
        steps, reason = length, "the whole example: the network looks at all of it"
    call = inference_call(network, example_input.narrow(time_dim, 0, steps).contiguous())
    with one_thread():
        latency_s = median_latencies_s({"call": call}, repeats)["call"]
    return StreamingCall(field, steps, latency_s, reason)


def _shortest(network: nn.Module, example: Tensor, time_dim: int) -> int:
    """The fewest steps that give an output, by bisection."""

    def answers(steps: int) -> bool:
        try:
            with torch.inference_mode():
                out = network(example.narrow(time_dim, 0, steps).contiguous())
        except (RuntimeError, ValueError, IndexError):
            return False
        return not isinstance(out, Tensor) or out.numel() > 0

    low, high = 0, example.shape[time_dim]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if answers(middle) else (middle, high)
    return high


def streaming_summary(call: StreamingCall, step_s: float | None) -> str:
    """One or two sentences on a streaming call."""
    took = f"a call on {call.steps:,} input steps ({call.reason}) takes {1e3 * call.latency_s:.2f} ms on one thread"
    if not math.isfinite(call.field.right):
        return f"Streaming: not by itself, as each output needs the whole input; {took}."
    wait, hop = _span(max(call.field.right, 0.0), step_s), _span(call.field.stride or 0.0, step_s)
    latency = _span(max(call.field.latency, 0.0), step_s)
    unit = "steps" if step_s is None else "ms"
    return f"Streaming: algorithmic latency {latency} {unit} (right context {wait} + {hop} between outputs); {took}."


def print_profile(
    module: DynamicModule,
    console: Console,
    *,
    receptive_field: bool = True,
    latency: bool = False,
    time_dim: int = -1,
) -> None:
    """Print the table of a module's layers and, on request, latencies of its consolidated network.

    Args:
        module: in evaluation mode.
        console: where to print.
        receptive_field: measure receptive fields, and time a streaming call.
        latency: time the network by the size of each width.
        time_dim: dimension of time of the network's input.
    """
    complexity, network, title = module.complexity, module.network, type(module.network).__name__
    if module.example_shape is None:
        _print_table(console, complexity, title)
        console.print("No receptive fields or latencies: the shape of an example input is unknown.")
        return
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    example = torch.zeros(*module.example_shape, device=device)
    small = consolidate(network)[0] if isinstance(network, DynamicNetwork) else network
    duration_s = complexity.duration_s
    step_s = None if duration_s is None else duration_s / (example.shape[0] * example.shape[time_dim])
    fields = None
    if receptive_field:
        try:
            fields = network_fields(network, example, time_dim=time_dim)
        except (RuntimeError, ValueError) as error:
            console.print(f"Receptive fields cannot be measured: {str(error).splitlines()[0]}")
    _print_table(console, complexity, title, fields, step_s)
    if any(not math.isfinite(field.size) for field in (fields or {}).values()):
        console.print(f"∞ and whole: as far as the example reaches, {example.shape[time_dim]:,} steps of the input.")
    if fields is not None and "" in fields:
        call = time_streaming_call(small, example, fields[""], time_dim=time_dim)
        console.print(streaming_summary(call, step_s), soft_wrap=True)
    if latency and module.is_dynamic:
        console.print(latency_table(width_latencies_s(module.learned[0], example)))


def _print_table(console: Console, complexity: Complexity, title: str, *fields: Any) -> None:
    """Print the profile's table, in parts where the console is narrow."""
    table = profile_table(complexity, title, *fields)
    for part in parts_that_fit(table, console, GROUPS if fields and fields[0] is not None else GROUPS[:-3]):
        console.print(part)


def profile_table(
    complexity: Complexity,
    title: str,
    fields: Mapping[str, ReceptiveField] | None = None,
    step_s: float | None = None,
) -> Table:
    """Per layer: role, parameters and FLOPs at full and at kept size, receptive field and latency.

    Args:
        complexity: of the network.
        title: its name.
        fields: receptive fields by module; None leaves their columns out.
        step_s: seconds from one step of the input to the next; None shows contexts in steps.
    """
    unit = complexity.unit
    name = "MFLOPs/s of audio" if unit == "flops_per_second" else "MFLOPs/call"
    table = Table(title=f"{title}: {name}", show_footer=True)
    rows = complexity.table()

    def total(key: str) -> float:
        return sum(float(row[key]) for row in rows)

    table.add_column("layer", footer="total", overflow="fold")
    table.add_column("kind")
    table.add_column("role")
    names = numbered([str(row["name"]) for row in rows])
    cells = [[name, str(row["kind"]), str(row["role"])] for name, row in zip(names, rows, strict=True)]
    for column, key, scale in (
        ("parameters", "parameters_before", 1.0),
        ("kept", "parameters_after", 1.0),
        (name, f"{unit}_before", 1e6),
        ("kept", f"{unit}_after", 1e6),
        ("paper's count", f"{unit}_paper_before", 1e6),
        ("kept", f"{unit}_paper_after", 1e6),
        ("share of kept", "share_after", 0.01),
    ):
        table.add_column(column, justify="right", footer=_number(total(key) / scale, key))
        for row, line in zip(rows, cells, strict=True):
            line.append(_number(float(row[key]) / scale, key))
    if fields is not None:
        context = "steps" if step_s is None else "ms"
        for column in ("receptive field, steps", f"past + future, {context}", f"latency, {context}"):
            table.add_column(column, justify="right")
        for row, line in zip(rows, cells, strict=True):
            line += _field_cells(fields.get(str(row["name"])), step_s)
    for line in cells:
        table.add_row(*line)
    return table


def numbered(names: Sequence[str]) -> list[str]:
    """Names with a number behind those that come several times, such as the additions of one module.

    >>> numbered(["add", "conv", "add"])
    ['add #1', 'conv', 'add #2']
    """
    several, seen = {name for name, n in Counter(names).items() if n > 1}, Counter[str]()
    told = []
    for name in names:
        seen[name] += 1
        told.append(f"{name} #{seen[name]}" if name in several else name)
    return told


def _field_cells(field: ReceptiveField | None, step_s: float | None) -> list[str]:
    if field is None:
        return ["", "", ""]
    size = f"{field.size:,.0f}" if math.isfinite(field.size) else "whole" if field == WHOLE else "∞"
    both = f"{_span(field.left, step_s)} + {_span(field.right, step_s)}"
    return [size, both, _span(max(field.latency, 0.0), step_s)]


def _span(steps: float, step_s: float | None) -> str:
    if not math.isfinite(steps):
        return "∞"
    return f"{steps:,.1f}" if step_s is None else f"{1e3 * steps * step_s:,.1f}"


def latency_table(latencies: Mapping[str, Mapping[int, float]]) -> Table:
    """For each width its latencies by size, and the ``multiple_of`` that they suggest."""
    table = Table(title="Milliseconds of a call by the size of one width, one thread")
    for column in ("width", "size: ms", "multiple_of"):
        table.add_column(column, overflow="fold")
    for name, of_width in latencies.items():
        timed = "  ".join(f"{size}: {1e3 * s:.3g}" for size, s in of_width.items())
        table.add_row(name, timed, str(suggest_multiple_of(of_width)))
    return table


def _number(value: float, key: str) -> str:
    if key.startswith("parameters"):
        return f"{value:,.0f}"
    return f"{value:.1f} %" if key.startswith("share") else f"{value:,.3f}"
