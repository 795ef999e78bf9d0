"""The loop that the studies share: a command line, runs that resume, several at a time, tables of what was found."""

from __future__ import annotations

import argparse
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch

from dyn_lightning.runs import append_result, config_hash, read_results
from experiments.command import results_file
from experiments.training import Record, Training, begin_run, keep_artifact, quieten, trained

Job = TypeVar("Job")


class Study(ABC):
    """A study: systems, each run with every seed, a record of each run, and tables of all records.

    A subclass says what differs. The loop is :meth:`main`: it parses the command line, leaves out the jobs that have a
    record already, runs the others in processes of their own, and writes the tables.

    Attributes:
        name: of its folder.
        description: for its help.
        seeds: where the command line names none.
        one_core: whether each run has one core; else they share all of them.
        checkpoints: whether runs keep any, in a folder of ``--runs``.
        data_root: what ``--data_root`` is, where the study reads data.
        options: settings that are options: name → default and help.
    """

    name: str
    description: str | None
    seeds: ClassVar[Sequence[int]] = (0, 1, 2)
    one_core: ClassVar[bool] = False
    checkpoints: ClassVar[bool] = True
    data_root: ClassVar[str | None] = None
    options: ClassVar[Mapping[str, tuple[Any, str | None]]] = {}

    @abstractmethod
    def systems(self, args: argparse.Namespace) -> Sequence[Any]:
        """Its systems, which have a ``name``, in the order of runs."""

    @abstractmethod
    def dataset(self, args: argparse.Namespace) -> str:
        """What runs are trained and tested on, in words.

        Raises:
            DatasetError: names the folder that is missing or incomplete, and the mend.
        """

    @abstractmethod
    def jobs(self, args: argparse.Namespace) -> list[Any]:
        """All runs that are asked for, in their order."""

    @abstractmethod
    def missing(self, jobs: Sequence[Any], results: str | os.PathLike[str]) -> list[Any]:
        """Those jobs of one command line that have no record in a file of results."""

    @abstractmethod
    def train(self, job: Any) -> Record:
        """One run, in a process of its own: its record."""

    @abstractmethod
    def summary(self, record: Record) -> str:
        """A finished run in one line."""

    @abstractmethod
    def write_tables(self, results: str | os.PathLike[str], folder: Path) -> None:
        """Makes tables and figures of a file of results, in a folder."""

    def settings(self, args: argparse.Namespace) -> dict[str, Any]:
        """What must be the same for runs to be compared; all of it is in their records."""
        return {name: getattr(args, name) for name in self.options}

    def add_options(self, parser: argparse.ArgumentParser) -> None:  # noqa: B027 - most have none
        """Options of its own that are no settings."""

    def settle(self, args: argparse.Namespace) -> None:  # noqa: B027 - most have none
        """What follows from the options, as further arguments."""

    def processes(self) -> int:
        """Runs at a time, where the command line does not say."""
        return 1 if self.one_core else runs_at_a_time()

    def parse(self, arguments: list[str] | None = None) -> argparse.Namespace:
        """The command line, with the systems that it names."""
        parser = argparse.ArgumentParser(
            description=self.description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        parser.add_argument("--seeds", type=int, nargs="+", default=[*self.seeds])
        parser.add_argument("--only", nargs="*", help="names of systems; all when absent")
        self.add_options(parser)
        add_settings(parser, self.options)
        if self.data_root is not None:
            parser.add_argument("--data_root", default=os.environ.get("DATA_ROOT", "data"), help=self.data_root)
            parser.add_argument("--num_workers", type=int, default=0, help="loader processes of each run")
        add_run_options(parser, self.name, self.processes(), checkpoints=self.checkpoints)
        args = parser.parse_args(arguments)
        self.settle(args)
        args.systems = self.systems(args)
        if args.only:
            if problem := unknown_names(args.only, [s.name for s in args.systems]):
                parser.error(problem)
            args.systems = [s for s in args.systems if s.name in args.only]
        return args

    def run(self, jobs: Sequence[Any], results: str, processes: int) -> None:
        """Runs those jobs that have no record yet, and appends it, a line each.

        Raises:
            RuntimeError: at the end, if runs have failed; the others are run all the same.
        """
        left = self.missing(jobs, results)
        print(f"{len(left)} runs to do, {len(jobs) - len(left)} done in {results}", flush=True)
        run_jobs(self.train, left, results, self.summary, processes)

    def main(self, arguments: list[str] | None = None) -> None:
        """Runs what is missing, prints what was found, and writes tables and figures."""
        args = self.parse(arguments)
        quieten()
        self.run(self.jobs(args), args.results, args.jobs)
        self.write_tables(args.results, Path(args.results).parent)


class TrainingStudy(Study):
    """A study whose runs are trainings through all phases, with checkpoints; a job is (system, seed, arguments).

    A run that was killed goes on from its last epoch.
    """

    @abstractmethod
    def training(self, system: Any, seed: int, args: argparse.Namespace) -> Training:
        """One run about to begin: module, data, folder and length."""

    def rank(self, system: Any) -> int:
        """Systems of a lower rank are run first, with all seeds."""
        return 0

    def facts(self, system: Any, run: Training, args: argparse.Namespace) -> Record:
        """What its records have beside those of every study; the module has the checkpoint that was chosen."""
        return {}

    def keep(self, run: Training, history: Mapping[str, Sequence[float]]) -> Record:
        """Makes the small network, here an artifact in the run's folder; what the record has to say of it."""
        return keep_artifact(run.module, run.data, history, run.folder)

    def last_too(self, system: Any) -> bool:
        """Whether the last checkpoint is measured beside the one that was chosen."""
        return False

    def jobs(self, args: argparse.Namespace) -> list[Any]:
        ordered = [(system, seed, args) for seed in args.seeds for system in args.systems]
        return sorted(ordered, key=lambda job: self.rank(job[0]))

    def missing(self, jobs: Sequence[Any], results: str | os.PathLike[str]) -> list[Any]:
        if not jobs:
            return []
        args = jobs[0][-1]
        done = finished(results, self.settings(args), self.dataset(args))
        return [job for job in jobs if (job[0].name, job[1]) not in done]

    def train(self, job: Any) -> Record:
        """Train, choose the checkpoint, measure it, and make the small network of one system with one seed."""
        system, seed, args = job
        begin_run(seed, os.cpu_count() or 1 if self.one_core else args.jobs)
        run = self.training(system, seed, args)
        record, fitted = trained(run, last_too=self.last_too(system))
        record |= self.facts(system, run, args)
        return record | self.keep(run, fitted.history)


def add_settings(parser: Any, options: Mapping[str, tuple[Any, str | None]]) -> None:
    """Adds options by name: of a default, whose type they have, and their help."""
    for name, (default, told) in options.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=told or " ")


def add_run_options(parser: argparse.ArgumentParser, study: str, processes: int, *, checkpoints: bool = True) -> None:
    """Adds what says how a study is run, and where its files go."""
    parser.add_argument("--jobs", "--processes", type=int, default=processes, help="runs at a time: on a GPU 2")
    if checkpoints:
        parser.add_argument("--runs", default=f"runs/{study}", help="checkpoints and artifacts")
    parser.add_argument("--results", default=results_file(study))


def runs_at_a_time() -> int:
    """How many trainings share this machine: two on a GPU, else one a core."""
    return 2 if torch.cuda.is_available() else os.cpu_count() or 1


def optimiser(config: Mapping[str, Any]) -> str:
    """In words; of runs whose narrower networks have a larger rate, by what power."""
    growth = config.get("lr_growth")
    return f"Adam at {config['lr']:g}" + (f" × narrowing^{growth:g}" if growth else "")


def is_of(record: Record, settings: Mapping[str, Any], dataset: str) -> bool:
    """Whether a finished run was trained on this data by these settings."""
    return record["dataset"] == dataset and all(record["config"].get(name) == value for name, value in settings.items())


def finished(results: str | os.PathLike[str], settings: Mapping[str, Any], dataset: str) -> set[tuple[str, int]]:
    """(system, seed) of all runs that need not be run again."""
    known = read_results(results) if Path(results).is_file() else []
    return {(r["config"]["system"], r["seed"]) for r in known if is_of(r, settings, dataset)}


def run_jobs(
    run: Callable[[Job], Record], jobs: Sequence[Job], results: str, summary: Callable[[Record], str], processes: int
) -> None:
    """Runs each job in one of some processes; its line is appended as soon as it is there, and a summary printed.

    Raises:
        RuntimeError: at the end, if runs have failed; the others are run all the same.
    """
    failed: list[BaseException] = []
    pool_of = partial(ProcessPoolExecutor, processes, mp_context=get_context("spawn"))
    with pool_of(initializer=_end_with, initargs=(os.getpid(),)) as pool:
        try:
            for future in as_completed([pool.submit(_Keeping(run, results), job) for job in jobs]):
                error = future.exception()
                if error is None:
                    print(summary(future.result()), flush=True)
                else:
                    failed.append(error)
                    print(f"a run has failed, the others go on: {error!r}", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if failed:
        raise RuntimeError(
            f"{len(failed)} of {len(jobs)} runs have failed, the first with {failed[0]!r}. Mend that and give the same "
            "command again: finished runs are kept"
        ) from failed[0]


def _end_with(parent: int) -> None:
    """Let this process end when its parent has: one that is killed cannot tell it to."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@dataclass(frozen=True)
class _Keeping:
    """A function of a job that also appends what it returns: of a class, so that it can be sent to a process."""

    run: Callable[[Any], Record]
    results: str

    def __call__(self, job: Any) -> Record:
        record = self.run(job)
        append_result(self.results, record)
        return record


def unknown_names(wanted: Iterable[str], known: Collection[str]) -> str | None:
    """What to say of names that no system has; None where all have one."""
    quoted = [repr(name) for name in wanted if name not in known]
    return f"no system is called {', '.join(quoted)}; there are: {', '.join(map(repr, known))}" if quoted else None


def run_folder(runs: str | os.PathLike[str], config: Mapping[str, Any], seed: int, dataset: str) -> Path:
    """Where a run keeps checkpoints and artifact.

    A folder for each system, seed, settings and data: no run goes on from one that was trained otherwise.
    """
    made_of = config_hash({"config": dict(config), "dataset": dataset})
    return Path(runs) / f"{slug(config['system'])}-{seed}-{made_of}"


def slug(name: str) -> str:
    """A system's name as a folder's."""
    return "".join(c if c.isalnum() or c == "." else "-" for c in name.replace("β", "beta")).strip("-")


def mean_spread(values: Iterable[float | None], digits: int = 2) -> str:
    """Mean ± standard deviation over seeds; a dash where nothing was measured."""
    known = [v for v in values if v is not None]
    if not known:
        return "–"
    spread = f" ± {np.std(known, ddof=1):.{digits}f}" if len(known) > 1 else ""
    return f"{np.mean(known):.{digits}f}{spread}"


def markdown(table: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as a table in Markdown."""
    head = list(table[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(row[key]) for key in head) + " |" for row in table]
    return "\n".join(lines) + "\n"
