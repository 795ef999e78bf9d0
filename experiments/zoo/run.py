"""Every backbone of the zoo at half width, by ours and by Torch-Pruning's recommended use, in one run.

``make bench-zoo`` prints the table. A result goes into results.jsonl as soon as it is there, in place of an older one
of the same network; results.md is made of all of them. A network that is not taken is a result, not an error: the
class and first line of what was raised are kept.
"""

from __future__ import annotations

import argparse
import json
import signal
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dyn_lightning.files import write_atomically
from experiments.zoo import ours, peer
from experiments.zoo.flops import counted_flops, parameter_count
from experiments.zoo.table import write_tables
from tests.zoo import LIBRARY_OF, NETWORKS
from tests.zoo.masking import NOT_COMPARABLE, all_different, difference_from_masked, outputs

Record = dict[str, Any]
HERE = Path(__file__).parent
SAME = 1e-4
TOOLS = ("ours", "torch_pruning")


class OutOfTime(Exception):
    """A network took longer than it may."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in the main thread after so many seconds of this process's CPU time."""

    def stop(*_: Any) -> None:
        raise OutOfTime(f"more than {seconds:g} s of CPU time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def verdict(name: str, backbone: nn.Module, example: Any, make: Callable[[], tuple[nn.Module, Record]]) -> Record:
    """What became of a backbone: a ``state`` and, as far as it got, sizes and costs.

    States: works, wrong (runs, but does not compute what the backbone does without the removed parts), shape (the
    output's shape changed), nothing (no parameter was removed, and nobody said so), fails.
    """
    start = time.process_time()
    record: Record = {}
    expected = outputs(backbone, example)
    try:
        small, facts = make()
        record |= facts | {"seconds": time.process_time() - start}
        found = outputs(small, example)
        record |= {"parameters": parameter_count(small), "flops": counted_flops(small, example)}
    except OutOfTime:
        raise
    except Exception as error:  # whatever a network makes a tool raise is the result
        lines = str(error).splitlines() or [""]
        said = {"error": f"{type(error).__name__}: {lines[0][:160]}", "error_in_full": str(error)[:4000]}
        return record | {"state": "fails", "seconds": time.process_time() - start} | said
    if [x.shape for x in found] != [x.shape for x in expected]:
        return record | {"state": "shape"}
    if record["parameters"] == parameter_count(backbone):
        return record | {"state": "nothing"}
    record["difference"] = difference = _difference(name, backbone, small, example)
    return record | {"state": "works" if difference is None or difference <= SAME else "wrong"}


def _difference(name: str, backbone: nn.Module, small: nn.Module, example: Any) -> float | None:
    """Relative difference from the backbone with the removed parameters at zero; None where that says nothing."""
    if name in NOT_COMPARABLE:
        return None
    try:
        return difference_from_masked(backbone, small, example)
    except LookupError:
        return None


def compare(name: str, limit_s: float, tools: Collection[str] = TOOLS, before: Record | None = None) -> Record:
    """One network, ours beside the peer's; a tool that takes longer than the limit fails.

    Args:
        name: of the network.
        limit_s: CPU seconds for each tool.
        tools: that are run.
        before: an earlier record of the network, whose results of the other tools are kept.
    """
    torch.manual_seed(0)
    backbone, example = NETWORKS[name]()
    all_different(backbone)
    backbone.eval()
    record: Record = {
        "network": name,
        "library": LIBRARY_OF.get(name, "own"),
        "parameters": parameter_count(backbone),
        "flops": counted_flops(backbone, example),
        "versions": {"torch": torch.__version__},
    }
    makers: dict[str, Callable[[], tuple[nn.Module, Record]]] = {
        "ours": lambda: ours.halved(backbone, example),
        "torch_pruning": lambda: (peer.pruned(backbone, example), {}),
    }
    for tool, make in makers.items():
        if tool not in tools and before is not None:
            record[tool] = before[tool]
            continue
        try:
            with time_limit(limit_s):
                record[tool] = verdict(name, backbone, example, make)
        except OutOfTime as error:
            record[tool] = {"state": "fails", "error": f"OutOfTime: {error}", "seconds": limit_s}
    return record


def read(path: Path) -> dict[str, Record]:
    """Results so far, by network."""
    if not path.exists():
        return {}
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return {record["network"]: record for record in records}


def main() -> None:
    """Runs the networks asked for, writes results.jsonl and results.md, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", default=["*"], help="patterns (fnmatch) of names")
    parser.add_argument("--limit_s", type=float, default=60.0, help="CPU seconds for one network and tool")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS, help="others keep the results they have")
    parser.add_argument("--out_dir", type=Path, default=HERE)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    names = [n for n in NETWORKS if any(fnmatchcase(n, pattern) for pattern in args.networks)]
    if not names:
        parser.error(f"--networks {' '.join(args.networks)} matches none of {', '.join(NETWORKS)}")
    args.out_dir.mkdir(parents=True, exist_ok=True)
    path = args.out_dir / "results.jsonl"
    records = read(path)
    for name in names:
        try:
            records[name] = compare(name, args.limit_s, args.tools, records.get(name))
        except ImportError as error:
            print(f"{name}: skipped, {error}", flush=True)
            continue
        ordered = [records[n] for n in NETWORKS if n in records]
        write_atomically(path, "".join(json.dumps(record) + "\n" for record in ordered).encode())
        states = {tool: records[name][tool]["state"] for tool in TOOLS}
        print(name, states, records[name]["ours"].get("error", ""), flush=True)
    write_tables(path, args.out_dir)


if __name__ == "__main__":
    main()
