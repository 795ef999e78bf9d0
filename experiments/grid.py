"""What the studies share that run one network with many settings: systems, runs, the command line, groups of runs."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path

from lightning.pytorch import Callback

from dyn_lightning.callbacks import Reorder
from dyn_lightning.consolidate import consolidate
from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import FlopsBudget, LambdaSquared, Objective
from dyn_lightning.runs import result_record
from dyn_lightning.runs.checks import unit_of
from experiments.cases import CASES, Case, full_flops
from experiments.command import results_file
from experiments.study import (
    Record,
    begin_run,
    evaluate,
    finished,
    fit,
    quieten,
    run_folder,
    run_jobs,
    unknown_names,
)


@dataclass(frozen=True)
class System:
    """One row of a study: the full network, the paper's procedure, or a budget.

    Attributes:
        name: of the row, and of its folder.
        dynamic: patterns of the layers whose sizes are learned; None for all, () for none.
        beta: weight of the paper's objective, whose procedure is then the paper's too: its boundary noise, no ranking,
            no epochs to settle in, the last checkpoint.
        lam_min: least λ; one unit when absent.
        share: budget as a share of all FLOPs at full size, where there is no β.
    """

    name: str
    dynamic: tuple[str, ...] | None = None
    beta: float | None = None
    lam_min: float | None = None
    share: float | None = None

    @property
    def settles(self) -> bool:
        """Whether the sizes are final before the end; the paper has no such phase."""
        return self.beta is None

    def callbacks(self) -> list[Callback]:
        """Ranks the elements when the search begins; the paper does not."""
        return [] if self.share is None else [Reorder()]

    def objective(self, case: Case) -> Objective | None:
        """What pulls the sizes down."""
        if self.beta is not None:
            return LambdaSquared(self.beta)
        return None if self.share is None else FlopsBudget(flops_per_second=self.share * full_flops(case))

    def module(self, case: Case) -> DynamicModule:
        """The system ready to be trained; with a budget at a learning rate that grows as the network narrows."""
        boundary = "taper" if self.beta is None else "paper"
        return case.module(self.objective(case), self.dynamic, boundary, 0.0 if self.share is None else case.lr_growth)


FULL = System("full", dynamic=())
Job = tuple[System, int, Case, argparse.Namespace]


@dataclass(frozen=True)
class Grid:
    """A study of one network in many settings.

    Attributes:
        folder: of its results.
        description: for its help.
        tasks: names of the cases that it is run on.
        systems: of a case.
        write_tables: makes tables and figures of a file of results in a folder.
    """

    folder: Path
    description: str | None
    tasks: Sequence[str]
    systems: Callable[[Case], list[System]]
    write_tables: Callable[[str | os.PathLike[str], Path], None]

    def parse(self, arguments: list[str] | None = None) -> argparse.Namespace:
        """The command line; the settings of the chosen task are options too."""
        first = argparse.ArgumentParser(add_help=False)
        first.add_argument("--task", choices=self.tasks, default=self.tasks[0])
        kind = CASES[first.parse_known_args(arguments)[0].task]
        parser = argparse.ArgumentParser(
            description=self.description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, parents=[first]
        )
        parser.add_argument("--data_root", default=os.environ.get("DATA_ROOT", "data"), help="where the task has audio")
        parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
        parser.add_argument("--only", nargs="*", help="names of systems; all when absent")
        parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each on one core")
        parser.add_argument("--num_workers", type=int, default=0, help="loader processes of each run")
        parser.add_argument("--runs", default=f"runs/{self.folder.name}", help="checkpoints")
        parser.add_argument("--results", default=results_file(self.folder.name))
        settings = parser.add_argument_group(f"settings of {kind.name}, the same for runs that are compared")
        for field in fields(kind):
            settings.add_argument(f"--{field.name}", type=type(field.default), default=field.default, help=" ")
        args = parser.parse_args(arguments)
        args.case = kind(**{field.name: getattr(args, field.name) for field in fields(kind)})
        args.systems = self.systems(args.case)
        if args.only is not None:
            if problem := unknown_names(args.only, [s.name for s in args.systems]):
                parser.error(problem)
            args.systems = [s for s in args.systems if s.name in args.only]
        return args

    def main(self, arguments: list[str] | None = None) -> None:
        """Runs what is missing, prints what was found, and writes tables and figures."""
        args = self.parse(arguments)
        quieten()
        case: Case = args.case
        done = finished(args.results, case.settings(), case.dataset(args.data_root))
        jobs: list[Job] = [(s, n, case, args) for n in args.seeds for s in args.systems if (s.name, n) not in done]
        count = len(args.systems) * len(args.seeds)
        print(f"{len(jobs)} runs to do, {count - len(jobs)} done in {args.results}", flush=True)
        run_jobs(train, jobs, args.results, summary, args.jobs)
        self.write_tables(args.results, Path(args.results).parent)


def train(job: Job) -> Record:
    """Train, choose the checkpoint, test, and consolidate one system with one seed."""
    system, seed, case, args = job
    begin_run(seed, os.cpu_count() or 1)  # one thread
    config = {"system": system.name, **case.settings()}
    dataset = case.dataset(args.data_root)
    folder = run_folder(Path(args.runs) / case.name, config, seed, dataset)
    data = case.data(args.data_root, seed, args.num_workers)
    module = system.module(case)
    fitted = fit(
        system, module, data, folder, case.epochs, search_share=case.search_share, monitor=f"val/{case.metric}"
    )
    record = result_record(
        module,
        metrics=evaluate(fitted.trainer, module, data, fitted.best),
        config=config,
        seed=seed,
        dataset=dataset,
        wall_time_s=fitted.wall_time_s,
        history=fitted.history,
    )
    record |= {name: value for name, value in asdict(system).items() if name != "name"} | {"resumed": fitted.resumed}
    if module.is_dynamic:
        inputs = [module.task.input_of(batch) for batch in islice(data.val_dataloader(), 4)]
        _, report = consolidate(module.learned[0], inputs)
        record["largest_relative_difference"] = report.largest_relative_difference
    return record


def summary(record: Record) -> str:
    """A finished run in one line; no result on test, by which nothing may be chosen."""
    case = case_of(record)
    return (
        f"{record['config']['system']:24s} seed {record['seed']}: {case.metric} on validation "
        f"{record['metrics'][f'val/{case.metric}']:.4f}, {flops_percent(record):.1f} % of the FLOPs, "
        f"{record['wall_time_s']:.0f} s"
    )


def case_of(record: Record) -> type[Case]:
    """What a run was of."""
    return CASES[record["config"]["task"]]


def flops_percent(record: Record) -> float:
    """FLOPs in percent of the full network's."""
    unit = unit_of(record)
    return 100 * float(record[unit] / record[f"{unit}_before"])


def error_of(record: Record, stage: str = "test") -> float:
    """Error on test or validation, in the case's unit."""
    case, metrics = case_of(record), record["metrics"]
    name = next(n for n in case.tests if n in metrics) if stage == "test" else f"val/{case.metric}"
    return case.scale * float(metrics[name])


def sizes_text(records: Iterable[Record]) -> str:
    """The sizes that each seed has kept, those that are equal once."""
    found = ("/".join(str(kept) for kept, _ in r["widths"].values()) for r in sorted(records, key=lambda r: r["seed"]))
    return ", ".join(dict.fromkeys(found)) or "–"


def runs_of(name: str, records: Sequence[Record]) -> list[Record]:
    """All runs of a system, by seed."""
    return sorted((r for r in records if r["config"]["system"] == name), key=lambda r: int(r["seed"]))


def studies(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Heading → runs that may be compared, by task, data and settings; those with most runs first."""
    found: dict[str, list[Record]] = {}
    for record in records:
        config = {name: value for name, value in record["config"].items() if name != "system"}
        found.setdefault(json.dumps([record["dataset"], config], sort_keys=True), []).append(record)
    return {_head(runs[0]): runs for runs in sorted(found.values(), key=len, reverse=True)}


def _head(record: Record) -> str:
    settings = {name: value for name, value in record["config"].items() if name not in ("system", "task")}
    text = ", ".join(f"{name} {value}" for name, value in sorted(settings.items()))
    return f"## {record['config']['task']}: {record['dataset']}\nSettings: {text}.\n"


def first_of_tasks(found: dict[str, list[Record]]) -> dict[str, list[Record]]:
    """Task → the runs of its first study: those that are drawn."""
    chosen: dict[str, list[Record]] = {}
    for records in found.values():
        chosen.setdefault(records[0]["config"]["task"], records)
    return chosen
