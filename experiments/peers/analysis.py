"""What finished runs say of methods: means with intervals, differences paired by seed, fronts and the area between."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dyn_lightning.runs.statistics import Summary, summarise
from experiments.peers.methods import METHODS, OURS
from experiments.training import Record


def percent(metric: str) -> Callable[[Record], float]:
    """A metric of a record in percent."""
    return lambda record: 100 * float(record["metrics"][metric])


@dataclass(frozen=True)
class Point:
    """A method at a budget, trained at one learning rate.

    Attributes:
        method: a name in ``METHODS``.
        label: the budget in percent; "" for a method without one.
        lr: of the weights.
        runs: by seed; the best of its trials by validation where a method has several.
        spent_s: time of all its training by seed, the trials' too; of seeds that were trained in one go.
    """

    method: str
    label: str
    lr: float
    runs: Mapping[int, Record]
    spent_s: Mapping[int, float]

    @property
    def name(self) -> str:
        """As records call it."""
        return f"{self.method} {self.label} %" if self.label else self.method

    def over(self, value: Callable[[Record], float | None]) -> Summary | None:
        """Mean over seeds, with an interval."""
        return summarise(value(run) for run in self.runs.values())

    @property
    def flops_per_second(self) -> float:
        """Mean over seeds."""
        return float(np.mean([run["flops_per_second"] for run in self.runs.values()]))


def points(records: Iterable[Record]) -> list[Point]:
    """Finished runs of one bench as points, in the order of ``METHODS``, by falling budget and rising learning rate."""
    found: dict[tuple[str, str, float], dict[int, list[Record]]] = {}
    for record in records:
        parsed = parse_name(record["config"]["system"])
        if parsed is not None:
            key = (*parsed, float(record["config"]["lr"]))
            found.setdefault(key, {}).setdefault(int(record["seed"]), []).append(record)
    made = []
    for (method, label, lr), by_seed in found.items():
        complete = {s: runs for s, runs in by_seed.items() if len(runs) >= METHODS[method].trials}
        if complete:
            best = {s: min(runs, key=validation_eer) for s, runs in sorted(complete.items())}
            in_one_go = {s: runs for s, runs in complete.items() if not any(r.get("resumed") for r in runs)}
            spent_s = {s: sum(r["wall_time_s"] for r in runs) for s, runs in in_one_go.items()}
            made.append(Point(method, label, lr, best, spent_s))
    order = list(METHODS)
    return sorted(made, key=lambda p: (order.index(p.method), -float(p.label or 100), p.lr))


def validation_eer(record: Record) -> float:
    """What chooses checkpoints, trials and learning rates."""
    return float(record["metrics"]["val/eer"])


@dataclass(frozen=True)
class Comparison:
    """All that was run on one bench.

    Attributes:
        tried: every method at every budget and learning rate.
        n_tuning_seeds: how many seeds choose among learning rates.
    """

    tried: Sequence[Point]
    n_tuning_seeds: int = 2

    @cached_property
    def chosen(self) -> list[Point]:
        """Each method at each budget, at its learning rate: see ``rate``."""
        keys = dict.fromkeys((p.method, p.label) for p in self.tried)
        return [p for method, label in keys for p in self._at(method, label) if p.lr == self.rate(method, label)]

    def rate(self, method: str, label: str) -> float | None:
        """The learning rate with the least validation EER, over the first seeds that all rates tried have.

        Some methods take that of another, where they have been run at it. None where nothing has been run.
        """
        here = self._at(method, label)
        followed = METHODS[method].lr_of
        if followed is not None and (lr := self.rate(followed, label)) is not None and lr in [p.lr for p in here]:
            return lr
        if not here:
            return None
        seeds = self.tuning_seeds(here)
        if not seeds:
            return max(here, key=lambda p: len(p.runs)).lr
        return min(here, key=lambda p: sum(validation_eer(p.runs[s]) for s in seeds)).lr

    def tuning_seeds(self, points: Sequence[Point]) -> list[int]:
        """The first seeds that all of some points have."""
        return sorted(set.intersection(*(set(p.runs) for p in points)))[: self.n_tuning_seeds]

    def beside(self, point: Point) -> Point | None:
        """Ours, given as much, at a method's budget; for one with one thing changed, at the same learning rate."""
        ours = METHODS[point.method].ours
        lr = point.lr if METHODS[point.method].lr_of == OURS else self.rate(ours, point.label)
        return next((p for p in self._at(ours, point.label) if p.lr == lr), None)

    def _at(self, method: str, label: str) -> list[Point]:
        return [p for p in self.tried if (p.method, p.label) == (method, label)]


def parse_name(system: str) -> tuple[str, str] | None:
    """(method, budget in percent or "") of a record's system; None for one that is not compared here."""
    name = system.split(", trial ")[0]
    if name in METHODS and not METHODS[name].budgeted:
        return name, ""
    method, _, label = name.removesuffix(" %").rpartition(" ")
    return (method, label) if name.endswith(" %") and method in METHODS else None


def paired(a: Point, b: Point, value: Callable[[Record], float]) -> Summary | None:
    """Value of a minus that of b over the seeds that both have, with Student's t interval."""
    return summarise(value(a.runs[s]) - value(b.runs[s]) for s in sorted(a.runs.keys() & b.runs.keys()))


def front(chosen: Sequence[Point], value: Callable[[Record], float]) -> list[tuple[float, float]]:
    """(FLOPs/s, mean value) by rising cost."""
    return sorted((p.flops_per_second, float(np.mean([value(r) for r in p.runs.values()]))) for p in chosen)


def mean_gap(a: Sequence[tuple[float, float]], b: Sequence[tuple[float, float]]) -> float | None:
    """Area between two fronts over log FLOPs, divided by its width: how far b lies above a on average.

    Fronts are linear in log FLOPs between points; None where they share no range.
    """
    low, high = max(a[0][0], b[0][0]), min(a[-1][0], b[-1][0])
    if not low < high:
        return None
    x = np.linspace(math.log(low), math.log(high), 1001)
    gap = _at(b, x) - _at(a, x)
    return float(np.trapezoid(gap, x) / (x[-1] - x[0]))


def _at(points: Sequence[tuple[float, float]], x: Any) -> Any:
    return np.interp(x, [math.log(f) for f, _ in points], [v for _, v in points])


def flops_to_reach(value: float, points: Sequence[tuple[float, float]]) -> float | None:
    """The least FLOPs/s at which a front is down at a value; None where it never is."""
    for (f0, v0), (f1, v1) in itertools.pairwise(points):
        if v0 <= value:
            return f0
        if v1 <= value:
            t = (v0 - value) / (v0 - v1)
            return math.exp(math.log(f0) + t * (math.log(f1) - math.log(f0)))
    return points[-1][0] if points and points[-1][1] <= value else None
