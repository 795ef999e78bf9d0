"""What is run, in which order and at which learning rates."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from experiments.peers.analysis import Comparison, points
from experiments.peers.benches import BENCHES, Bench
from experiments.peers.methods import CORE_BUDGETS, METHODS, Kind, system_name
from experiments.peers.table import records_of
from experiments.study import run_folder


@dataclass(frozen=True)
class Job:
    """One run: a method on a bench at a budget with a seed; which of its trials, where it has several.

    Its learning rate is the bench's times ``lr_factor``, its teacher's the bench's times ``teacher_factor``.
    """

    bench: str
    method: str
    label: str
    seed: int
    trial: int
    args: argparse.Namespace
    lr_factor: float = 1.0
    teacher_factor: float = 1.0

    @property
    def system(self) -> str:
        """As records name it."""
        name = system_name(self.method, self.label)
        return f"{name}, trial {self.trial + 1}" if METHODS[self.method].trials > 1 else name

    @property
    def made_bench(self) -> Bench:
        """The bench at this run's learning rate."""
        return bench_at(self.bench, self.lr_factor, self.args)

    @property
    def teacher(self) -> Job:
        """The run of the full network that this one begins with."""
        return replace(self, method="full", trial=0, lr_factor=self.teacher_factor)

    def folder(self) -> Path:
        """Of checkpoints and artifact."""
        bench = self.made_bench
        config = {"system": self.system, **bench.config}
        dataset = bench.data_name(roots(self.args)[self.bench])
        return run_folder(Path(self.args.runs) / self.bench, config, self.seed, dataset)


def bench_of(name: str, args: argparse.Namespace) -> Bench:
    """The bench, trained as long as the command line says."""
    return BENCHES[name](**({"epochs": args.vad_epochs} if name == "vad" and args.vad_epochs else {}))


def bench_at(name: str, lr_factor: float, args: argparse.Namespace) -> Bench:
    """The bench with its learning rate times a factor."""
    bench = bench_of(name, args)
    return bench.at(float(f"{lr_factor * bench.lr:.6g}"))


def roots(args: argparse.Namespace) -> dict[str, str]:
    """The data of each bench."""
    return {name: args.antispoofing_root if name == "antispoofing" else args.vad_root for name in BENCHES}


def queue(args: argparse.Namespace) -> Iterator[Job]:
    """All runs asked for, in the order of their value: core, then peers, then
    those that begin with a trained network, then ablations, and further budgets last."""

    def jobs(method: str, label: str, seeds: list[int]) -> Iterator[Job]:
        for seed in seeds:
            for bench in (b for b in args.benches if b in METHODS[method].benches):
                for trial in range(METHODS[method].trials):
                    yield Job(bench, method, label, seed, trial, args)

    chosen = {kind: [m for m in args.methods if METHODS[m].kind == kind] for kind in get_args(Kind)}
    few = args.seeds[: args.peer_seeds]
    near = [b for b in args.budgets if b in CORE_BUDGETS] or args.budgets[:1]
    for method in chosen["core"]:
        for label in near if METHODS[method].budgeted else near[:1]:
            yield from jobs(method, label, args.seeds)
    for label in args.budgets:
        for method in (*chosen["peer"], *chosen["trained"], *(chosen["ablation"] if label == near[0] else ())):
            yield from jobs(method, label, few)
        if label not in near:
            for method in chosen["core"]:
                if METHODS[method].budgeted:
                    yield from jobs(method, label, few)


def tuning(args: argparse.Namespace, *, taught: bool) -> list[Job]:
    """The runs by which each method finds its learning rate at each budget, with the first seeds.

    Args:
        args: the command line.
        taught: those of methods with a teacher, whose rate must be known by then, or those of all others.
    """
    few = argparse.Namespace(**{**vars(args), "seeds": args.seeds[: args.tune_seeds]})
    own = [j for j in queue(few) if METHODS[j.method].lr_of is None and METHODS[j.method].has_teacher == taught]
    jobs = at_their_rates(own, args) if own and taught else own
    return [replace(job, args=args, lr_factor=factor) for job in jobs for factor in args.lr_factors]


def at_their_rates(jobs: Iterable[Job], args: argparse.Namespace) -> list[Job]:
    """The runs, each at the learning rate that validation has chosen for its method and budget, as is its teacher."""
    tried: dict[str, Comparison] = {}
    for name in args.benches:
        bench = bench_of(name, args)
        lrs = {bench_at(name, factor, args).lr for factor in args.lr_factors}
        records = records_of(bench, Path(args.results), bench.data_name(roots(args)[name]))
        tried[name] = Comparison(points(r for r in records if r["config"]["lr"] in lrs), args.tune_seeds)

    def factor(bench: str, method: str, label: str) -> float:
        lr = tried[bench].rate(method, label if METHODS[method].budgeted else "")
        return next((f for f in args.lr_factors if bench_at(bench, f, args).lr == lr), args.lr_factors[0])

    return [
        replace(
            job,
            lr_factor=factor(job.bench, METHODS[job.method].lr_of or job.method, job.label),
            teacher_factor=factor(job.bench, "full", ""),
        )
        for job in jobs
    ]
