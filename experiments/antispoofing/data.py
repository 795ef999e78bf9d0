"""The corpus of a run: all of it, or the first utterances of each system, to try the study with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from dyn_lightning.cli.data_check import PartReport, check_part
from dyn_lightning.data.asvspoof2019 import ASVspoof2019DataModule, EvaluationCrops, TrainingCrops
from dyn_lightning.data.asvspoof_protocols import find_root
from dyn_lightning.data.corpora import CORPORA, Utterance
from dyn_lightning.data.corpora.asvspoof import PARTS

CORPUS = CORPORA["LA"]


class FewUtterances(ASVspoof2019DataModule):
    """The first utterances of each spoofing system in each part, and as many that are bona fide.

    Args:
        data_root, options: see :class:`ASVspoof2019DataModule`.
        per_system: how many of each.
    """

    def __init__(self, data_root: str, per_system: int, **options: Any) -> None:
        super().__init__(data_root, **options)
        self.per_system = per_system

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if self.train_set is not None:
            few = first_of_each(self.train_set.utterances, self.per_system)
            self.train_set = TrainingCrops(few, self._store(few), self.n_samples, self.train_seed, self.augmentation)
        for name, known in self.eval_sets.items():
            few = first_of_each(known.utterances, self.per_system)
            self.eval_sets[name] = EvaluationCrops(few, self._store(few), self.n_samples, known.asv_rates)


def first_of_each(utterances: Sequence[Utterance], number: int) -> list[Utterance]:
    """The first so many utterances of each system, bona fide being one, in their order."""
    seen: Counter[str] = Counter()
    found = []
    for utterance in utterances:
        seen[utterance.system] += 1
        if seen[utterance.system] <= number:
            found.append(utterance)
    return found


@cache
def part_reports(data_root: str) -> list[PartReport]:
    """What each part holds: read once in a process, as the whole corpus has 121,461 lines."""
    root = find_root(data_root, CORPUS)
    return [check_part(root, CORPUS, part) for part in PARTS]


def is_published(data_root: str) -> bool:
    """Whether a corpus is ASVspoof2019 LA, by the counts of its parts."""
    return not any(report.differences for report in part_reports(data_root))


def data_name(data_root: str, per_system: int | None = None) -> str:
    """What a run was trained and tested on: the corpus or the folder it is in, and the amount of material."""
    root = find_root(data_root, CORPUS)
    parts = [(r.part, r.counts["-"], r.counts.total() - r.counts["-"]) for r in part_reports(data_root)]
    counts = ", ".join(f"{part} {bona_fide} + {spoof}" for part, bona_fide, spoof in parts)
    folder = root.parent if root.name == "LA" else root
    name = CORPUS.title if is_published(data_root) else f"{folder.name}, which is not {CORPUS.title}"
    few = "" if per_system is None else f"; of each system the first {per_system} alone"
    return f"{name}: {counts} utterances, bona fide + spoofed{few}"
