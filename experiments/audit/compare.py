"""Our count of each layer beside those of public counters: what each of them misses, and what it counts otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from torch import nn

from dyn_lightning.network.plain import plain_complexity
from experiments.audit.counters import COUNTERS, Count, Counter, run_counter

FLOPS_PER_MAC = 2
AGREEMENT = 0.1
"""Largest relative difference at which two counts say the same; whether biases count is within it."""


@dataclass(frozen=True)
class AuditRow:
    """One layer, or the functions that a module calls itself.

    Attributes:
        name: of the module; "" is the network.
        kind: class of the layer, or the names of the functions.
        flops: our count of one call, convention ``full``.
        counts: what each tool counts, in the tool's own unit.
    """

    name: str
    kind: str
    flops: float
    counts: dict[str, float]


@dataclass(frozen=True)
class Audit:
    """Counts of one call of a network.

    Attributes:
        rows: by layer.
        tools: what each counter said of the whole, or why it said nothing.
        uncounted: operations that our own count leaves out, as it has no formula for them.
    """

    rows: tuple[AuditRow, ...]
    tools: tuple[Count, ...]
    uncounted: tuple[str, ...]

    @property
    def flops(self) -> float:
        """Our count of one call, convention ``full``."""
        return sum(row.flops for row in self.rows)

    def ratio(self, row: AuditRow, tool: Count) -> float:
        """A tool's count over ours, both in FLOPs: a MAC is two. Infinite where we count nothing."""
        theirs = row.counts[tool.tool] * (FLOPS_PER_MAC if tool.unit == "MACs" else 1)
        return theirs / row.flops if row.flops else float("inf")

    def missed(self, tool: Count) -> list[AuditRow]:
        """Layers that cost something by our count and nothing by a tool's."""
        return [row for row in self.rows if row.flops > 0 and row.counts[tool.tool] <= 0]

    def different(self, tool: Count) -> list[AuditRow]:
        """Layers that a tool counts, otherwise than we do by more than `AGREEMENT`."""
        counted = (row for row in self.rows if row.counts[tool.tool] > 0)
        return [row for row in counted if abs(self.ratio(row, tool) - 1) > AGREEMENT]

    def missed_share(self, tool: Count) -> float:
        """Share of our FLOPs that lies in the layers that a tool misses."""
        return sum(row.flops for row in self.missed(tool)) / (self.flops or 1.0)


def audit(network: nn.Module, example_input: Any, counters: Iterable[Counter] = COUNTERS) -> Audit:
    """Count one call of a plain network by ourselves and by the public counters that are installed.

    A tool's count of a layer is what it attributes to that module and the modules inside it. Functions that a
    module calls itself are compared as one row, with what the tool attributes to that module and to none inside it.

    Args:
        network: plain torch.nn; left as it was.
        example_input: a tensor, a tuple (positional arguments) or a dict (keyword arguments).
        counters: which to run.
    """
    complexity = plain_complexity(network, example_input, None)
    modules = dict(network.named_modules())
    flops: dict[str, float] = {}
    kinds: dict[str, list[str]] = {}
    for op in complexity.rows:
        name = op.name if op.name in modules else op.name.rpartition(".")[0]
        name = name if name in modules else ""
        flops[name] = flops.get(name, 0.0) + float(op.flops["full"].at({}))
        if op.kind not in kinds.setdefault(name, []) and (op.flops["full"].terms or op.name in modules):
            kinds[name].append(op.kind)
    tools = tuple(run_counter(counter, network, example_input) for counter in counters)
    flops.setdefault("", 0.0)
    own = {tool.tool: own_counts(tool.by_module, list(flops)) for tool in tools}
    rows = [
        AuditRow(name, ", ".join(kinds.get(name, [])), value, {tool: counts[name] for tool, counts in own.items()})
        for name, value in flops.items()
        if value or any(counts[name] for counts in own.values())
    ]
    return Audit(tuple(rows), tools, complexity.uncounted)


def own_counts(by_module: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """Counts of modules, less what those of the others inside them say."""

    def inside(inner: str, outer: str) -> bool:
        return inner != outer and (not outer or inner.startswith(f"{outer}."))

    found = {}
    for name in names:
        below = [n for n in names if inside(n, name)]
        nearest = [n for n in below if not any(inside(n, other) for other in below)]
        found[name] = max(0.0, by_module.get(name, 0.0) - sum(by_module.get(n, 0.0) for n in nearest))
    return found


def audit_table(result: Audit) -> Table:
    """Per layer our FLOPs and each tool's count in its own unit, with what is missed or counted otherwise."""
    ran = [tool for tool in result.tools if tool.error is None]
    table = Table(title="One call by our count and by public counters (millions, in each one's own unit)")
    table.add_column("layer", overflow="fold")
    table.add_column("kind", max_width=20)
    table.add_column("ours\nFLOPs", justify="right")
    for tool in ran:
        table.add_column(f"{tool.tool}\n{tool.unit}", justify="right")
    for row in result.rows:
        cells = [_cell(result, row, tool) for tool in ran]
        table.add_row(row.name or "(the network)", row.kind, f"{row.flops / 1e6:,.3f}", *cells)
    table.add_section()
    table.add_row("all", "", f"{result.flops / 1e6:,.3f}", *(f"{t.by_module.get('', 0.0) / 1e6:,.3f}" for t in ran))
    shares = [f"{100 * result.missed_share(tool):.1f} %" for tool in ran]
    table.add_row("FLOPs in layers missed", "", "", *shares)
    return table


def audit_summary(result: Audit) -> str:
    """A line for each tool: version, unit, layers that it misses and layers that it counts otherwise."""
    lines = []
    for tool in result.tools:
        if tool.error is not None:
            lines.append(f"{tool.tool}: {tool.error}")
            continue
        missed, different = result.missed(tool), result.different(tool)
        names = ", ".join(row.name or "(the network)" for row in sorted(missed, key=lambda row: -row.flops)[:5])
        more = ", …" if len(missed) > 5 else ""
        lines.append(
            f"{tool.tool} {tool.version}, {tool.unit}: misses {len(missed)} of {len(result.rows)} layers with "
            f"{100 * result.missed_share(tool):.1f} % of the FLOPs{f' ({names}{more})' if missed else ''}; "
            f"counts {len(different)} otherwise"
        )
    if result.uncounted:
        lines.append(f"not in our own count: {', '.join(result.uncounted)}")
    return "\n".join(lines)


def _cell(result: Audit, row: AuditRow, tool: Count) -> str:
    count = row.counts[tool.tool]
    if count <= 0:
        return "missed" if row.flops > 0 else ""
    if row.flops <= 0:
        return f"{count / 1e6:,.3f} (more)"
    ratio = result.ratio(row, tool)
    return f"{count / 1e6:,.3f}" + ("" if abs(ratio - 1) <= AGREEMENT else f" ({ratio:.2f}×)")
