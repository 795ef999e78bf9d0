"""The comparison: every method on both tasks, at equal cost and equal training, then tables and figures.

``python -m experiments.peers.run --vad_root … --antispoofing_root …``. Runs are done in the order of their value. A run
that is in ``results.jsonl``, or in the results of the study that has the same one, is not run again; one that was
killed goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dyn_lightning.callbacks.consolidate import load_checkpoint
from dyn_lightning.report import result_record
from experiments.peers.analysis import Comparison, points
from experiments.peers.benches import BENCHES, Bench, complexity_of
from experiments.peers.methods import METHODS, Given, system_name
from experiments.peers.table import records_of, write_tables
from experiments.study import (
    Record,
    begin_run,
    evaluate,
    finished,
    fit,
    keep_artifact,
    quieten,
    run_jobs,
    slug,
    unknown_names,
)

RESULTS = Path(__file__).parent / "results.jsonl"
BUDGETS = ("6.25", "25", "50", "12.5", "2")
"""Shares in percent, in the order of their value."""
CORE_BUDGETS = BUDGETS[:2]


@dataclass(frozen=True)
class Job:
    """One run: a method on a bench at a budget with a seed; which of its trials, where it has several.

    Its learning rate is the bench's times ``lr_factor``.
    """

    bench: str
    method: str
    label: str
    seed: int
    trial: int
    args: argparse.Namespace
    lr_factor: float = 1.0

    @property
    def system(self) -> str:
        """As records name it."""
        name = system_name(self.method, self.label)
        return f"{name}, trial {self.trial + 1}" if METHODS[self.method].trials > 1 else name

    @property
    def made_bench(self) -> Bench:
        """The bench at this run's learning rate."""
        return bench_at(self.bench, self.lr_factor, self.args)


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


def bench_of(name: str, args: argparse.Namespace) -> Bench:
    """The bench, trained as long as the command line says."""
    return BENCHES[name](**({"epochs": args.vad_epochs} if name == "vad" and args.vad_epochs else {}))


def bench_at(name: str, lr_factor: float, args: argparse.Namespace) -> Bench:
    """The bench with its learning rate times a factor."""
    bench = bench_of(name, args)
    return bench.at(float(f"{lr_factor * bench.lr:.6g}"))


def train(job: Job) -> Record:
    """Train, choose the checkpoint on validation, test, and write the artifact."""
    args, bench = job.args, job.made_bench
    method = METHODS[job.method]
    begin_run(job.seed * method.trials + job.trial, args.jobs)
    end = "" if job.lr_factor == 1 else f"-lr{bench.lr:g}"
    folder = Path(args.runs) / bench.name / f"{slug(job.system)}-{job.seed}{end}"
    root = roots(args)[bench.name]
    given = Given(
        bench,
        share_of(job.label) if method.budgeted else 1.0,
        job.seed * method.trials + job.trial,
        lambda: teacher(bench, args, job.seed),
    )
    plan = method.plan(given)
    data = bench.data(root, job.seed, args.num_workers)
    system = _System(job.system, plan.settles, plan.lam_min, tuple(plan.callbacks))
    fitted = fit(
        system,
        plan.module,
        data,
        folder,
        bench.epochs,
        warmup_share=plan.warmup_share,
        search_share=plan.search_share,
        multiple_of=plan.multiple_of,
    )
    record = result_record(
        plan.module,
        metrics=evaluate(fitted.trainer, plan.module, data, fitted.best),
        config={"system": job.system, **bench.config},
        seed=job.seed,
        dataset=bench.data_name(root),
        wall_time_s=fitted.wall_time_s,
    )
    record |= {
        "bench": bench.name,
        "method": job.method,
        "resumed": fitted.resumed,
        "threads": torch.get_num_threads(),
        "flops_per_second_full": complexity_of(bench).flops_full_size(),
    }
    return record | keep_artifact(plan.module, data, fitted.history, folder)


def teacher(bench: Bench, args: argparse.Namespace, seed: int) -> nn.Module:
    """The full network of a seed at the bench's learning rate. FileNotFoundError where that has not been trained."""
    places = [Path(args.runs) / bench.name, Path(bench.runs)]
    found = [p for p in (place / f"full-{seed}" / "best.ckpt" for place in places) if p.is_file()]
    if not found:
        raise FileNotFoundError(
            f"no full network of seed {seed} under {places[0]} or {places[1]} to learn from: run --methods full first"
        )
    module = Given(bench, 1.0, seed, nn.Module).plan().module
    load_checkpoint(module, str(found[0]))
    network: nn.Module = module.network
    return network


def share_of(label: str) -> float:
    """The share that a label in percent stands for."""
    return float(label) / 100


def roots(args: argparse.Namespace) -> dict[str, str]:
    """The data of each bench."""
    return {"vad": args.vad_root, "antispoofing": args.antispoofing_root}


def queue(args: argparse.Namespace) -> Iterator[Job]:
    """All runs asked for, in the order of their value: core, then peers, then ablations, and further budgets last."""

    def jobs(method: str, label: str, seeds: list[int]) -> Iterator[Job]:
        for seed in seeds:
            for bench in (b for b in args.benches if b in METHODS[method].benches):
                for trial in range(METHODS[method].trials):
                    yield Job(bench, method, label, seed, trial, args)

    chosen = {kind: [m for m in args.methods if METHODS[m].kind == kind] for kind in ("core", "peer", "ablation")}
    few = args.seeds[: args.peer_seeds]
    near = [b for b in args.budgets if b in CORE_BUDGETS]
    for method in chosen["core"]:
        for label in near if METHODS[method].budgeted else near[:1]:
            yield from jobs(method, label, args.seeds)
    for label in args.budgets:
        for method in (*chosen["peer"], *(chosen["ablation"] if label == near[0] else ())):
            yield from jobs(method, label, few)
        if label not in near:
            for method in chosen["core"]:
                if METHODS[method].budgeted:
                    yield from jobs(method, label, few)


def tuning(args: argparse.Namespace) -> list[Job]:
    """The runs by which each method finds its learning rate at each budget, with the first seeds."""
    few = argparse.Namespace(**{**vars(args), "seeds": args.seeds[: args.tune_seeds]})
    jobs = [replace(job, args=args) for job in queue(few) if METHODS[job.method].lr_of is None]
    return [replace(job, lr_factor=factor) for job in jobs for factor in args.lr_factors]


def at_their_rates(jobs: Iterable[Job], args: argparse.Namespace) -> list[Job]:
    """The runs, each at the learning rate that validation has chosen for its method and budget."""
    tried: dict[str, Comparison] = {}
    for name in args.benches:
        lrs = {bench_at(name, factor, args).lr for factor in args.lr_factors}
        records = records_of(bench_of(name, args), Path(args.results))
        tried[name] = Comparison(points(r for r in records if r["config"]["lr"] in lrs))

    def factor(job: Job) -> float:
        method = METHODS[job.method].lr_of or job.method
        lr = tried[job.bench].rate(method, job.label if METHODS[method].budgeted else "")
        return next((f for f in args.lr_factors if bench_at(job.bench, f, args).lr == lr), args.lr_factors[0])

    return [replace(job, lr_factor=factor(job)) for job in jobs]


def run_missing(jobs: Sequence[Job], args: argparse.Namespace, what: str) -> None:
    """Runs those that are not yet in the results."""
    done: set[tuple[str, float, str, int]] = set()
    for name, factor in {(job.bench, job.lr_factor) for job in jobs}:
        bench = bench_at(name, factor, args)
        for results in (args.results, bench.shared):
            known = finished(results, bench.config, bench.data_name(roots(args)[name]))
            done |= {(name, factor, system, seed) for system, seed in known}
    missing = [job for job in jobs if (job.bench, job.lr_factor, job.system, job.seed) not in done]
    print(f"{what}: {len(missing)} runs to do, {len(jobs) - len(missing)} done", flush=True)
    run_jobs(train, missing, args.results, summary, args.jobs)


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
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time")
    parser.add_argument("--num_workers", type=int, default=0, help="loader processes of each run")
    parser.add_argument("--runs", default="runs/peers", help="checkpoints and artifacts")
    parser.add_argument("--results", default=str(RESULTS))
    args = parser.parse_args(arguments)
    if problem := unknown_names(args.methods, list(METHODS)):
        parser.error(problem)
    if not set(args.budgets) & set(CORE_BUDGETS):
        parser.error(f"--budgets must have one of {', '.join(CORE_BUDGETS)}")
    return args


def main(arguments: list[str] | None = None) -> None:
    """Runs what is missing, prints what was found, and writes tables and figures."""
    quieten()
    args = parse(arguments)
    if len(args.lr_factors) > 1:
        run_missing(tuning(args), args, "learning rates")
    run_missing(at_their_rates(queue(args), args), args, "comparison")
    write_tables(args.results, Path(args.results).parent)


if __name__ == "__main__":
    main()
