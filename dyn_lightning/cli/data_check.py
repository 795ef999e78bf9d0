"""``dyn-lightning data-check``: is a corpus complete, and is it the one that it claims to be?"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from jsonargparse import ArgumentParser

from dyn_lightning.data.asvspoof_protocols import (
    find_root,
    problem,
    read_part_asv_rates,
    scan,
)
from dyn_lightning.data.audio import AudioError, DatasetError, read_audio
from dyn_lightning.data.corpora import CORPORA, SpoofCorpus, Utterance, spoof_corpus
from dyn_lightning.data.corpora.asvspoof import BONA_FIDE_SYSTEM, Counts, Part
from dyn_lightning.errors import SettingError

SOUND, BROKEN, OTHER_COUNTS = 0, 1, 3


@dataclass(frozen=True)
class PartReport:
    """What was found of one part of a corpus.

    Attributes:
        part: "train", "dev" or "eval".
        counts: utterances by system, "-" for bona fide.
        problems: what has to be mended.
        differences: how the counts differ from the published ones.
        notes: what is worth knowing.
    """

    part: Part
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """One line: utterances of each kind."""
        bona_fide = self.counts[BONA_FIDE_SYSTEM]
        systems = ", ".join(f"{name} {n}" for name, n in sorted(self.counts.items()) if name != BONA_FIDE_SYSTEM)
        total = self.counts.total()
        return f"{self.part}: {total} utterances: {bona_fide} bona fide, {total - bona_fide} spoofed ({systems})"


def check_part(root: Path, corpus: SpoofCorpus, part: Part, decode: bool = False, num_workers: int = 4) -> PartReport:
    """Checks lines, files, ASV scores and counts of a part and, where asked for, decodes every file.

    Args:
        root: as :func:`~dyn_lightning.data.asvspoof_protocols.find_root` gives it.
        corpus: layout and published counts.
        part: which part.
        decode: read all audio; of all that can go wrong, only this finds truncated files.
        num_workers: threads that decode.
    """
    report = PartReport(part)
    try:
        found = scan(root, corpus, part)
    except DatasetError as error:
        report.problems.append(str(error))
        report.differences.extend(count_differences(report.counts, corpus.counts[part]))
        return report
    report.counts.update(u.system for u in found.utterances)
    report.problems.extend(found.problems + ([found.strays] if found.strays else []))
    if part in corpus.asv_scores:
        _check_asv_scores(root, corpus, report)
    report.differences.extend(count_differences(report.counts, corpus.counts[part]))
    if decode:
        broken = _undecodable([u for u in found.utterances if os.path.isfile(u.path)], num_workers)
        if broken:
            mend = "Replace them with intact files."
            report.problems.append(problem(root / corpus.audio[part], "audio files that cannot be used", broken, mend))
    return report


def _check_asv_scores(root: Path, corpus: SpoofCorpus, report: PartReport) -> None:
    try:
        rates = read_part_asv_rates(root, corpus, report.part, set(report.counts) - {BONA_FIDE_SYSTEM})
    except DatasetError as error:
        report.problems.append(str(error))
        return
    if rates is None:
        place = root / corpus.asv_scores[report.part]
        report.notes.append(f"{place}: no ASV scores: min t-DCF of this part is left out.")


def count_differences(counts: Counter[str], published: Counts) -> list[str]:
    """How counts by system differ from the published ones, e.g. "A01: 3799 instead of 3800".

    Systems that are wholly absent, or in no way expected, are told together: "none of A01 to A06 (3800 each)".
    """
    found = Counter({name: n for name, n in counts.items() if name != BONA_FIDE_SYSTEM})
    totals = (("bona fide", counts[BONA_FIDE_SYSTEM], published.bona_fide), ("spoofed", found.total(), published.spoof))
    lines = [f"{name}: {n} instead of {expected}" for name, n, expected in totals if n != expected]
    if not published.systems:
        return lines
    share = published.spoof // len(published.systems)
    partly = [name for name in published.systems if found[name] not in (0, share)]
    lines += [f"{name}: {found[name]} instead of {share}" for name in partly]
    if absent := [name for name in published.systems if not found[name]]:
        lines.append(f"none of {name_ranges(absent)} ({share} each)")
    others = sorted(set(found) - set(published.systems))
    if others:
        numbers = {found[name] for name in others}
        each = f"{numbers.pop()} each" if len(numbers) == 1 else f"{sum(found[name] for name in others)} in all"
        lines.append(f"others instead: {name_ranges(others)} ({each})")
    return lines


def name_ranges(names: Sequence[str]) -> str:
    """Names in order, those that count on told by the first and the last: "A01 to A06, A09"."""
    runs: list[list[str]] = []
    for name in names:
        if runs and name == _next_name(runs[-1][-1]):
            runs[-1].append(name)
        else:
            runs.append([name])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def _next_name(name: str) -> str | None:
    """ "A02" for "A01"; None for a name without a number at its end."""
    stem = name.rstrip("0123456789")
    digits = name[len(stem) :]
    return f"{stem}{int(digits) + 1:0{len(digits)}d}" if digits else None


def _undecodable(utterances: Sequence[Utterance], num_workers: int) -> list[str]:
    def reason(utterance: Utterance) -> str | None:
        try:
            read_audio(utterance.path, 16000)
        except AudioError as error:
            return f"{os.path.basename(utterance.path)} {str(error).removeprefix(f'{utterance.path}: ').split('. ')[0]}"
        return None

    with ThreadPoolExecutor(num_workers) as pool:
        return [text for text in pool.map(reason, utterances) if text is not None]


def data_check(args: Sequence[str] | None = None) -> int:
    """``dyn-lightning data-check``: files, lines and counts of an anti-spoofing corpus.

    Returns:
        The exit status: 0 sound and as published, 1 something has to be mended, 3 sound, but other counts than
        the published corpus.
    """
    parser = ArgumentParser(
        prog="dyn-lightning data-check",
        description="Check that an anti-spoofing corpus is complete and is what it claims to be. Exit status: 0 sound "
        "and as published; 1 something has to be mended; 3 sound, but by its counts another corpus.",
    )
    parser.add_argument("--data_root", type=str, required=True, help="Folder that holds the corpus.")
    parser.add_argument(
        "--corpus",
        type=str,
        default="LA",
        help=f"Which corpus it should be: {', '.join(CORPORA)}, or a path of your own.",
    )
    parser.add_argument("--decode", action="store_true", help="Decode every file: minutes for a whole corpus.")
    parser.add_argument("--num_workers", type=int, default=4, help="Threads that decode.")
    options = parser.parse_args(None if args is None else list(args))
    corpus = spoof_corpus(options.corpus)
    if corpus.list_part is not None:
        raise SettingError(f"corpus={options.corpus}: a function that lists utterances says itself what is wrong")
    try:
        root = find_root(options.data_root, corpus)
    except DatasetError as error:
        print(error)
        return BROKEN
    reports = [check_part(root, corpus, part, options.decode, options.num_workers) for part in corpus.protocols]
    print(f"{corpus.title} at {root}")
    for report in reports:
        print(report.summary())
        for text in (*report.problems, *report.notes):
            print(f"  {text}")
    return _verdict(corpus, reports, options.decode)


def _verdict(corpus: SpoofCorpus, reports: Sequence[PartReport], decoded: bool) -> int:
    broken = any(report.problems for report in reports)
    different = any(report.differences for report in reports)
    if different:
        print(f"This is not {corpus.title} by its counts:")
        for report in reports:
            if report.differences:
                print(f"  {report.part}: {'; '.join(report.differences)}")
    else:
        print(f"All counts are those of {corpus.title}.")
    print("Files and lines do not all match or cannot be used, see above." if broken else "Files and lines match.")
    print("Every file was decoded." if decoded else "No audio was decoded: --decode does that.")
    return BROKEN if broken else OTHER_COUNTS if different else SOUND


if __name__ == "__main__":
    sys.exit(data_check())
