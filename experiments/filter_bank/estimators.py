"""How the boundary element fades out: every form under the same controller, and the gradient that λ gets from each.

``python -m experiments.filter_bank.estimators``. A run that is in ``estimators.jsonl`` is not run again; those of the
default form are shared with ``run.py``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch

from dyn_lightning.data.synthetic_spectra import Reading, synthetic_batch
from dyn_lightning.dynamize import dynamize
from dyn_lightning.files import write_atomically
from dyn_lightning.models.filter_bank import FilterBankNet
from dyn_lightning.optim import make_optimizer
from dyn_lightning.runs import append_result, read_results, read_runs
from dyn_lightning.tasks import Regression
from dyn_lightning.widths import BOUNDARIES
from experiments.filter_bank.run import HERE, RESULTS, STUDY, Job
from experiments.filter_bank.study import FIXED, N_BANDS, N_FREQS, N_OUTPUTS, OURS, READINGS, Schedule, System
from experiments.filter_bank.table import Record, markdown, rows

SIZES = (63.99, 63.5, 31.9)


@dataclass(frozen=True)
class Gradient:
    """dloss/dλ of single batches at one K: mean and standard deviation."""

    reading: Reading
    boundary: str
    k: float
    mean: float
    std: float


def lam_gradient(
    reading: Reading,
    boundary: str,
    k: float,
    *,
    training_steps: int = 700,
    batches: int = 300,
    batch_size: int = 128,
    lr: float = 2e-3,
    seed: int = 0,
) -> Gradient:
    """Train the weights at a fixed K with the boundary at work, then see what the task loss's gradient in λ is."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    readout = reading == "readout"
    network = dynamize(
        FilterBankNet(N_FREQS, N_OUTPUTS, N_BANDS, readout=readout),
        torch.zeros(1, N_FREQS),
        dynamic=["bands"],
        boundary=boundary,
        free_outputs=not readout,
    ).train()
    width, task = network.widths["bands"], Regression()
    width.set_lam(k / N_OUTPUTS)
    optimizer = make_optimizer(network, torch.optim.Adam, lr=lr, weight_decay=0.0, lr_lam=0.0)
    found = []
    for step in range(training_steps + batches):
        spectra, target = synthetic_batch(batch_size, generator, reading=reading, n_outputs=N_OUTPUTS)
        optimizer.zero_grad()
        task.loss(network(spectra), {"target": target}).backward()
        if step < training_steps:
            optimizer.step()
        else:
            assert width.theta.grad is not None
            found.append(width.theta.grad / width.lam.detach())  # θ = log λ
    gradients = torch.stack(found)
    return Gradient(reading, boundary, k, float(gradients.mean()), float(gradients.std(correction=0)))


def gradient_rows(gradients: Iterable[Record]) -> list[dict[str, str]]:
    """A row for each boundary, a column for each reading and K."""
    table: dict[str, dict[str, str]] = {}
    for g in gradients:
        row = table.setdefault(g["boundary"], {"boundary": g["boundary"]})
        row[f"{g['reading']}, K = {g['k']:g}"] = f"{g['mean']:+.2f} ± {g['std']:.2f}"
    return list(table.values())


def systems() -> list[System]:
    """The default form, and every other one under the same controller."""
    return [OURS] + [System(name, boundary=name) for name in BOUNDARIES if name != OURS.boundary]


def measure_gradients(path: Path) -> None:
    """Gradients of all forms, readings and sizes, into a file; those in it are not measured again."""
    known: list[Record] = read_results(path) if path.is_file() else []
    done = {(g["reading"], g["boundary"], g["k"]) for g in known}
    for boundary, reading, k in product(BOUNDARIES, READINGS, SIZES):
        if (reading, boundary, k) not in done:
            append_result(path, vars(lam_gradient(reading, boundary, k)))


def write_tables(runs: list[Record], gradients: list[Record], path: Path) -> None:
    """Both tables as Markdown, into one file."""
    default = f"“ours” is the form {OURS.boundary}; all forms have the same controller, schedule and data.\n"
    text = "\n".join(
        [
            default,
            markdown(rows(runs)),
            "Gradient of the task loss in λ, mean ± standard deviation over batches:\n",
            markdown(gradient_rows(gradients)),
        ]
    )
    print(text)
    write_atomically(path, text.encode())


def main(arguments: list[str] | None = None) -> None:
    """Measures what is missing, and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, …")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="runs at a time")
    parser.add_argument("--tables_only", action="store_true", help="of what has been measured")
    args = parser.parse_args(arguments)
    gradients_file, file = HERE / "gradients.jsonl", HERE / "estimators.jsonl"
    if not args.tables_only:
        torch.set_num_threads(1)
        measure_gradients(gradients_file)
        schedule = Schedule()
        jobs: list[Job] = [(r, s, n, schedule) for n in range(args.seeds) for s in systems() for r in READINGS]
        shared = [job for job in jobs if job[1] == OURS]
        STUDY.run(shared, str(RESULTS), args.processes)
        STUDY.run([job for job in jobs if job not in shared], str(file), args.processes)
    gradients: list[Record] = read_results(gradients_file)
    wanted = [r for r in read_runs(RESULTS) if r["config"]["name"] in (OURS.name, FIXED.name)]
    others = read_runs(file)
    seeds = {r["seed"] for r in others}  # the study may have more seeds of those that both have
    runs = [r for r in [*wanted, *others] if r["seed"] in seeds]
    write_tables(runs, gradients, HERE / "estimators.md")


if __name__ == "__main__":
    main()
