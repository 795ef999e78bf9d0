"""The zoo's table, from results.jsonl."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dyn_lightning.files import write_atomically

HERE = Path(__file__).parent

Record = dict[str, Any]
TOOLS = {"ours": "ours", "torch_pruning": "Torch-Pruning"}
STATES = {
    "works": "works",
    "wrong": "runs, computes something else",
    "shape": "runs, output of another shape",
    "nothing": "nothing happens",
    "fails": "fails",
}
LEGEND = """FLOPs, parameters: what is left of the backbone's, with every size that the tool finds at half width; FLOPs
by torch's own counter for both (recurrent layers and attention run step by step), and for ours by its own `full` count
in brackets. Equal: largest difference, relative to the largest output, from the backbone with everything that was
removed set to zero ("–": not comparable, since the network divides by or averages over a size that was reduced). For
ours, "works" also means equal to the backbone at λ = 1 (1e-6) and consolidated equal to dynamic (1e-5). Sizes: those
learned. s: seconds of CPU time.
"""


def markdown(records: Sequence[Record]) -> str:
    """The page: counts, one row a network, and what the tools said where they failed."""
    lines = ["# The zoo at half width", "", *_summary(records), "", LEGEND]
    lines += [
        "| network | ours | sizes | FLOPs | parameters | equal | s | Torch-Pruning | FLOPs | parameters | equal | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(record) for record in records]
    for tool, title in TOOLS.items():
        said = [f"| {r['network']} | {_plain(r[tool]['error'])} |" for r in records if "error" in r[tool]]
        if said:
            lines += ["", f"## Where {title} failed", "", "| network | error |", "|---|---|", *said]
    return "\n".join(lines) + "\n"


def _summary(records: Sequence[Record]) -> list[str]:
    lines = [f"| {len(records)} networks | {' | '.join(STATES.values())} |", f"|---|{'---|' * len(STATES)}"]
    for tool, title in TOOLS.items():
        counts = Counter(record[tool]["state"] for record in records)
        lines.append(f"| {title} | {' | '.join(str(counts[state]) for state in STATES)} |")
    return lines


def _row(record: Record) -> str:
    ours, peer = record["ours"], record["torch_pruning"]
    own_count = f" ({_percent(ours['complexity_share'])})" if "complexity_share" in ours else ""
    cells = [record["network"], _state(ours), str(ours.get("sizes", ""))]
    cells += [_share(ours, record, "flops") + own_count, _share(ours, record, "parameters"), _equal(ours)]
    cells += [f"{ours['seconds']:.1f}", _state(peer), _share(peer, record, "flops")]
    cells += [_share(peer, record, "parameters"), _equal(peer), f"{peer['seconds']:.1f}"]
    return f"| {' | '.join(cells)} |"


def _state(result: Record) -> str:
    state = result["state"]
    return state if "error" not in result else f"{state}: {result['error'].split(':')[0]}"


def _share(result: Record, record: Record, key: str) -> str:
    return _percent(result[key] / record[key]) if key in result and record[key] else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _equal(result: Record) -> str:
    if "difference" not in result:
        return ""
    return "–" if result["difference"] is None else f"{result['difference']:.0e}"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def write_tables(results: Path, folder: Path) -> None:
    """Write ``results.md`` into a folder, and print it."""
    text = markdown([json.loads(line) for line in results.read_text().splitlines()])
    print(text)
    write_atomically(folder / "results.md", text.encode())


if __name__ == "__main__":
    write_tables(HERE / "results.jsonl", HERE)
