"""What the studies share that run one network with many settings: systems, runs, the command line, groups of runs."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

from dyn_lightning.callbacks import Reorder
from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import FlopsBudget, LambdaSquared, Objective
from dyn_lightning.runs.checks import unit_of
from experiments.cases import CASES, Case, full_flops
from experiments.study import TrainingStudy, add_settings, run_folder
from experiments.training import Record, Training, compared


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


class Grid(TrainingStudy):
    """A study of one network in many settings; those of the chosen task are options too.

    Args:
        folder: of its results.
        description: for its help.
        tasks: names of the cases that it is run on.
        systems_of: a case's systems.
        tables: makes tables and figures of a file of results in a folder.
    """

    one_core = True
    data_root = "where the task has audio"

    def __init__(
        self,
        folder: Path,
        description: str | None,
        tasks: Sequence[str],
        systems_of: Callable[[Case], list[System]],
        tables: Callable[[str | os.PathLike[str], Path], None],
    ) -> None:
        self.name, self.description, self.tasks = folder.name, description, tasks
        self.systems_of, self.tables = systems_of, tables

    def parse(self, arguments: list[str] | None = None) -> argparse.Namespace:
        first = argparse.ArgumentParser(add_help=False)
        first.add_argument("--task", choices=self.tasks, default=self.tasks[0])
        self._kind = CASES[first.parse_known_args(arguments)[0].task]
        return super().parse(arguments)

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        kind = self._kind
        parser.add_argument("--task", choices=self.tasks, default=self.tasks[0])
        group = parser.add_argument_group(f"settings of {kind.name}, the same for runs that are compared")
        add_settings(group, {field.name: (field.default, None) for field in fields(kind)})

    def settle(self, args: argparse.Namespace) -> None:
        kind = CASES[args.task]
        args.case = kind(**{field.name: getattr(args, field.name) for field in fields(kind)})

    def systems(self, args: argparse.Namespace) -> list[System]:
        return self.systems_of(args.case)

    def settings(self, args: argparse.Namespace) -> dict[str, Any]:
        case: Case = args.case
        return case.settings()

    def dataset(self, args: argparse.Namespace) -> str:
        case: Case = args.case
        return case.dataset(args.data_root)

    def training(self, system: System, seed: int, args: argparse.Namespace) -> Training:
        case: Case = args.case
        config, dataset = {"system": system.name, **case.settings()}, self.dataset(args)
        folder = run_folder(Path(args.runs) / case.name, config, seed, dataset)
        data = case.data(args.data_root, seed, args.num_workers)
        module = system.module(case)
        options = {"search_share": case.search_share, "monitor": f"val/{case.metric}"}
        return Training(system, module, data, folder, case.epochs, config, seed, dataset, options)

    def facts(self, system: System, run: Training, args: argparse.Namespace) -> Record:
        return {name: value for name, value in asdict(system).items() if name != "name"}

    def keep(self, run: Training, history: Mapping[str, Sequence[float]]) -> Record:
        return compared(run.module, run.data)

    def summary(self, record: Record) -> str:
        """No result on test, by which nothing may be chosen."""
        case = case_of(record)
        return (
            f"{record['config']['system']:24s} seed {record['seed']}: {case.metric} on validation "
            f"{record['metrics'][f'val/{case.metric}']:.4f}, {flops_percent(record):.1f} % of the FLOPs, "
            f"{record['wall_time_s']:.0f} s"
        )

    def write_tables(self, results: str | os.PathLike[str], folder: Path) -> None:
        self.tables(results, folder)


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
