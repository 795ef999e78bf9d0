"""The comparison: every method on both tasks, at equal cost and equal training, then tables and figures.

``python -m experiments.peers.run --vad_root … --antispoofing_root …``. Runs are done in the order of their value. A run
that is in ``results.jsonl`` is not run again; one that was killed goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dyn_lightning.module.artifact import load_checkpoint
from experiments.command import as_command
from experiments.peers.benches import BENCHES, complexity_of
from experiments.peers.jobs import (
    Job,
    at_their_rates,
    bench_at,
    bench_of,
    queue,
    roots,
    tuning,
)
from experiments.peers.methods import BUDGETS, CORE_BUDGETS, METHODS, Given
from experiments.peers.table import write_tables
from experiments.study import add_run_options, finished, run_jobs, runs_at_a_time, unknown_names
from experiments.training import Record, Training, begin_run, keep_artifact, quieten, trained


@dataclass(frozen=True)
class _System:
    """What the training loop asks for."""

    name: str
    settles: bool
    lam_min: float | None
    extra: tuple[Any, ...]

    def callbacks(self) -> list[Any]:
        """Beside those that every run has."""
        return list(self.extra)


def train(job: Job) -> Record:
    """Train, choose the checkpoint on validation, test, and write the artifact."""
    args, bench = job.args, job.made_bench
    method = METHODS[job.method]
    begin_run(job.seed * method.trials + job.trial, args.jobs)
    folder = job.folder()
    root = roots(args)[bench.name]
    given = Given(
        bench,
        share_of(job.label) if method.budgeted else 1.0,
        job.seed * method.trials + job.trial,
        lambda: teacher(job.teacher),
    )
    plan = method.plan(given)
    data = bench.data(root, job.seed, args.num_workers)
    system = _System(job.system, plan.settles, plan.lam_min, tuple(plan.callbacks))
    run = Training(
        system,
        plan.module,
        data,
        folder,
        bench.epochs,
        {"system": job.system, **bench.config},
        job.seed,
        bench.data_name(root),
        {name: getattr(plan, name) for name in ("warmup_share", "search_share", "multiple_of")},
    )
    record, fitted = trained(run)
    record |= {
        "bench": bench.name,
        "method": job.method,
        "threads": torch.get_num_threads(),
        "flops_per_second_full": complexity_of(bench).flops_full_size(),
    }
    return record | keep_artifact(plan.module, data, fitted.history, folder)


def teacher(full: Job) -> nn.Module:
    """The trained network of a run at full size. FileNotFoundError where that has not been trained to its end."""
    folder = finished_folder(full)
    if folder is None:
        raise FileNotFoundError(f"{full.folder()}: no full network of seed {full.seed} to learn from: run it first")
    module = Given(full.made_bench, 1.0, full.seed, nn.Module).plan().module
    load_checkpoint(module, str(folder / "best.ckpt"))
    network: nn.Module = module.network
    return network


def finished_folder(job: Job) -> Path | None:
    """Where a run that was trained to its end has its checkpoints; None where it was not, or has lost them."""
    last = job.folder() / "last.ckpt"
    if not last.is_file():
        return None
    done = torch.load(last, map_location="cpu", weights_only=True)["epoch"] + 1
    return job.folder() if done >= job.made_bench.epochs else None


def share_of(label: str) -> float:
    """The share that a label in percent stands for."""
    return float(label) / 100


def run_missing(jobs: Sequence[Job], args: argparse.Namespace, what: str) -> str | None:
    """Runs those that are not yet in the results, teachers first; what to say where some have failed."""
    done: set[tuple[str, float, str, int]] = set()
    for name, factor in {(job.bench, job.lr_factor) for job in jobs}:
        bench = bench_at(name, factor, args)
        known = finished(args.results, bench.config, bench.data_name(roots(args)[name]))
        done |= {(name, factor, system, seed) for system, seed in known}
    missing = [job for job in jobs if (job.bench, job.lr_factor, job.system, job.seed) not in done]
    print(f"{what}: {len(missing)} runs to do, {len(jobs) - len(missing)} done", flush=True)
    taught = [job for job in missing if METHODS[job.method].has_teacher]
    # The results may have a teacher's record where its checkpoint is not on this machine.
    teachers = {(t.bench, t.lr_factor, t.seed): t for t in (job.teacher for job in taught) if not finished_folder(t)}
    first = [job for job in missing if not METHODS[job.method].has_teacher]
    asked = {(job.bench, job.lr_factor, job.seed) for job in first if job.method == "full"}
    first = [t for key, t in teachers.items() if key not in asked] + first
    problems = []
    for stage in (first, taught):
        try:
            run_jobs(train, stage, args.results, summary, args.jobs)
        except RuntimeError as error:  # the runs that have not failed are still worth a table
            problems.append(str(error))
    return "; ".join(problems) or None


def summary(record: Record) -> str:
    """A finished run in one line; no result on test, by which nothing may be chosen."""
    return (
        f"{record['bench']:12s} {record['config']['system']:24s} lr {record['config']['lr']:g} seed {record['seed']}: "
        f"validation EER "
        f"{100 * record['metrics']['val/eer']:.2f} %, "
        f"{100 * record['flops_per_second'] / record['flops_per_second_full']:.1f} % of the FLOPs, "
        f"{record['wall_time_s']:.0f} s"
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    data_root = os.environ.get("DATA_ROOT", "data")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--vad_root", default=data_root, help="speech and noise for voice activity detection")
    parser.add_argument("--antispoofing_root", default=str(Path(data_root) / "MiniSpoof"), help="folder that holds LA")
    parser.add_argument("--benches", nargs="+", choices=list(BENCHES), default=list(BENCHES))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="; ".join(METHODS))
    parser.add_argument("--budgets", nargs="+", choices=BUDGETS, default=list(CORE_BUDGETS), help="in percent")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--peer_seeds", type=int, default=3, help="how many of the seeds all but the core are run with")
    parser.add_argument("--lr_factors", type=float, nargs="+", default=[1.0, 3.0], help="of the bench's learning rate")
    parser.add_argument("--tune_seeds", type=int, default=2, help="how many of the seeds choose among learning rates")
    parser.add_argument("--vad_epochs", type=int, help="in place of the bench's")
    parser.add_argument("--num_workers", type=int, default=0, help="loader processes of each run")
    add_run_options(parser, "peers", runs_at_a_time())
    args = parser.parse_args(arguments)
    if problem := unknown_names(args.methods, list(METHODS)):
        parser.error(problem)
    return args


def main(arguments: list[str] | None = None) -> None:
    """Runs what is missing, prints what was found, and writes tables and figures.

    Raises:
        RuntimeError: at the end, if runs have failed.
    """
    quieten()
    args = parse(arguments)
    if "torch-pruning" in args.methods and find_spec("torch_pruning") is None:
        args.methods.remove("torch-pruning")
        print("torch-pruning is left out, as it is not installed: pip install -c constraints.txt -e '.[peers]'")
    problems = []
    if len(args.lr_factors) > 1:
        for taught in (False, True):
            if jobs := tuning(args, taught=taught):
                problems.append(run_missing(jobs, args, "learning rates"))
    problems.append(run_missing(at_their_rates(queue(args), args), args, "comparison"))
    write_tables(args.results, Path(args.results).parent, [bench_of(name, args) for name in BENCHES], args.tune_seeds)
    if any(problems):
        raise RuntimeError("; ".join(problem for problem in problems if problem))


if __name__ == "__main__":
    as_command(main)
