"""Networks of more than 100 million parameters: dynamize, one training step, consolidate; CPU seconds and memory.

``python -m experiments.zoo.large`` runs each in a process of its own and prints a table. Memory is the most that the
process held, less what it held before it made the network, over the same of the plain network in a forward pass.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.files import write_atomically
from dyn_lightning.inputs import call_arguments, tensors_in
from tests.zoo import LARGE
from tests.zoo.masking import outputs, relative_difference

Record = dict[str, Any]
LONGEST_S, MOST_MEMORY = 60.0, 3.0


def peak_bytes() -> int:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(name: str) -> Record:
    """One network in this process, which should be a fresh one."""
    torch.manual_seed(0)
    before = peak_bytes()
    backbone, example = LARGE[name]()
    expected = outputs(backbone, example)
    plain = peak_bytes() - before
    start = time.process_time()
    dynamic = dynamize(backbone, example)
    record: Record = {
        "network": name,
        "parameters": sum(p.numel() for p in backbone.parameters()),
        "sizes": len(dynamic.widths),
        "dynamize_s": time.process_time() - start,
        "memory": (peak_bytes() - before) / plain,
        "difference_at_full_size": relative_difference(outputs(dynamic, example), expected),
    }
    for width in dynamic.widths.values():
        width.set_lam(max(0.5, width.lam_min))
    args, kwargs = call_arguments(example)
    optimizer = torch.optim.SGD(dynamic.parameters(), lr=1e-6)
    start = time.process_time()
    found = tensors_in(dynamic.train()(*args, **kwargs))
    sum(x.square().mean() for x in found if x.requires_grad).backward()  # type: ignore[union-attr]
    optimizer.step()
    record["step_s"] = time.process_time() - start
    record["without_gradient"] = [n for n, w in dynamic.widths.items() if w.theta.grad is None]
    start = time.process_time()
    small, report = consolidate(dynamic.eval())
    record["consolidate_s"] = time.process_time() - start
    record["difference_consolidated"] = relative_difference(outputs(small, example), outputs(dynamic, example))
    record["flops_share"] = report.flops / report.flops_before
    return record


def main() -> None:
    """Prints the table and writes large.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=list(LARGE), help="this one alone, its record as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.network:
        print(json.dumps(measure(args.network)))
        return
    records = []
    for name in LARGE:
        command = [sys.executable, "-W", "ignore", "-m", "experiments.zoo.large", "--network", name]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            print(f"{name}: {(run.stderr.strip().splitlines() or ['no message'])[-1]}")
            continue
        records.append(json.loads(run.stdout.splitlines()[-1]))
        record = records[-1]
        quick, lean = record["dynamize_s"] <= LONGEST_S, record["memory"] <= MOST_MEMORY
        print(
            f"{name}: {record['parameters'] / 1e6:.0f} M parameters, {record['sizes']} sizes; dynamize "
            f"{record['dynamize_s']:.1f} s (aim {LONGEST_S:g}, {'met' if quick else 'MISSED'}), memory "
            f"{record['memory']:.2f}× plain (aim {MOST_MEMORY:g}, {'met' if lean else 'MISSED'}); step "
            f"{record['step_s']:.1f} s, consolidated in {record['consolidate_s']:.1f} s at "
            f"{100 * record['flops_share']:.0f} % of the FLOPs, difference {record['difference_consolidated']:.0e}"
        )
    write_atomically(Path(__file__).with_name("large.json"), f"{json.dumps(records, indent=1)}\n".encode())


if __name__ == "__main__":
    main()
