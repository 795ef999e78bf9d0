"""How well a countermeasure does, from its scores alone: anybody's score file is judged alike."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dyn_lightning.data import asvspoof_protocols
from dyn_lightning.data.audio import DatasetError
from dyn_lightning.data.score_files import UNKNOWN, ScoreTable
from dyn_lightning.files import write_atomically
from dyn_lightning.inference.error_figures import plot_by_system, plot_det
from dyn_lightning.metrics.bootstrap import bootstrap_interval
from dyn_lightning.metrics.det import det_curve
from dyn_lightning.metrics.eer import EERConvention, eer
from dyn_lightning.metrics.tdcf import min_tdcf

EER_CONVENTION: EERConvention = "asvspoof2019"
CONFIDENCE = 0.95


def check_scores(table: ScoreTable) -> None:
    """Raises DatasetError unless every utterance has a key and both classes are there."""
    targets = table.targets
    if unknown := int((targets < 0).sum()):
        raise DatasetError(f"the scores have {unknown} utterances without a key (-): give their protocol")
    counts = {"bona fide": int((targets == 1).sum()), "spoofed": int((targets == 0).sum())}
    if absent := [name for name, count in counts.items() if not count]:
        raise DatasetError(f"the scores have no {' and no '.join(absent)} utterance: error rates need both classes")


def read_asv_rates(path: str | os.PathLike[str], table: ScoreTable) -> tuple[float, float, float]:
    """``asv_error_rates`` of a file of ASV scores, which must be of the same attacks.

    Raises:
        DatasetError: if the file is missing, malformed, of other attacks, or of an ASV system without a t-DCF.
    """
    if not Path(path).is_file():
        raise DatasetError(f"{path}: no such file. Check the path of the ASV scores.")
    systems = systems_of(table)
    if not systems:
        raise DatasetError(f"{path}: the attacks that it must be of are unknown. Give the protocol of the scores.")
    return asvspoof_protocols.read_asv_rates(Path(path), systems)


def systems_of(table: ScoreTable) -> list[str]:
    """The attacks, in order of name."""
    named = {s for s, key in zip(table.systems, table.keys, strict=True) if key == "spoof"}
    return sorted(named - {UNKNOWN})


def evaluate_scores(
    table: ScoreTable,
    asv_rates: Sequence[float] | None = None,
    *,
    by_speaker: bool = False,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """EER of all attacks and of each, and the minimum t-DCF where the ASV is known, with 95 % bootstrap intervals.

    Args:
        table: scores with their keys.
        asv_rates: (p_fa, p_miss, p_miss_spoof), see ``asv_error_rates``.
        by_speaker: resample speakers instead of utterances; the table must name them.
        n_resamples, seed: see ``bootstrap_interval``.

    Returns:
        JSON values; rates in [0, 1], intervals [low, high].

    Raises:
        DatasetError: if a key is unknown, a class absent, or a speaker needed and unknown.
    """
    check_scores(table)
    if by_speaker and table.speakers is None:
        raise DatasetError("resampling speakers needs to know them: give the protocol")

    def interval(statistic: Any, chosen: Tensor) -> list[float]:
        speakers = table.speakers if by_speaker else None
        groups = None if speakers is None else [speakers[i] for i in chosen.nonzero().flatten().tolist()]
        found = bootstrap_interval(
            statistic,
            table.scores[chosen],
            targets[chosen],
            groups=groups,
            confidence=CONFIDENCE,
            n_resamples=n_resamples,
            seed=seed,
        )
        return list(found)

    def eer_of(scores: Tensor, targets: Tensor) -> float:
        return eer(scores, targets, convention=EER_CONVENTION)[0]

    targets, everything = table.targets, torch.ones(len(table.keys), dtype=torch.bool)
    rate, threshold = eer(table.scores, targets, convention=EER_CONVENTION)
    found: dict[str, Any] = {
        "n_bonafide": int((targets == 1).sum()),
        "n_spoof": int((targets == 0).sum()),
        "convention": EER_CONVENTION,
        "bootstrap": {
            "confidence": CONFIDENCE,
            "resampled": "speakers" if by_speaker else "utterances",
            "n_resamples": n_resamples,
            "seed": seed,
        },
        "eer": rate,
        "eer_interval": interval(eer_of, everything),
        "threshold": threshold,
    }
    if asv_rates is not None:
        rates = tuple(asv_rates)
        found["asv_rates"] = dict(zip(("p_fa", "p_miss", "p_miss_spoof"), rates, strict=True))
        found["min_tdcf"] = min_tdcf(table.scores, targets, rates)
        found["min_tdcf_interval"] = interval(lambda s, t: min_tdcf(s, t, rates), everything)
    found["systems"] = {}
    for system, chosen in _by_system(table).items():
        found["systems"][system] = {
            "n_spoof": int((targets[chosen] == 0).sum()),
            "eer": eer_of(table.scores[chosen], targets[chosen]),
            "eer_interval": interval(eer_of, chosen),
        }
    return found


def print_scores(found: Mapping[str, Any], console: Console) -> None:
    """Print what ``evaluate_scores`` found."""

    def line(label: str, name: str, scale: float, unit: str, digits: int) -> str:
        low, high = (scale * value for value in found[f"{name}_interval"])
        return f"{label} {scale * found[name]:.{digits}f}{unit}  [{low:.{digits}f}, {high:.{digits}f}]"

    resampled = found["bootstrap"]["resampled"]
    console.print(f"{found['n_bonafide']} bona fide and {found['n_spoof']} spoofed utterances")
    console.print(line("EER", "eer", 100, " %", 3), highlight=False, markup=False)
    if found["eer"] > 0.5:
        console.print("above 50 %: higher scores must mean bona fide speech. Turn their sign if yours mean spoofed")
    if "min_tdcf" in found:
        console.print(line("min t-DCF", "min_tdcf", 1, "", 4), highlight=False, markup=False)
    console.print(f"in brackets {100 * CONFIDENCE:g} % bootstrap intervals over {resampled}", highlight=False)
    if not found["systems"]:
        return
    table = Table("attack", "utterances", "EER %", "interval")
    for system, values in found["systems"].items():
        low, high = (100 * value for value in values["eer_interval"])
        table.add_row(system, f"{values['n_spoof']:,}", f"{100 * values['eer']:.3f}", f"{low:.3f}–{high:.3f}")
    console.print(table)


def write_evaluation(table: ScoreTable, found: Mapping[str, Any], out_dir: str | os.PathLike[str]) -> list[Path]:
    """Write ``scores.json``, ``det.png`` and, where attacks are known, ``eer_by_system.png``; gives their paths."""
    folder = Path(out_dir)
    written = [folder / "scores.json", folder / "det.png"]
    curves = {"all attacks": det_curve(table.scores, table.targets)[:2]}
    for system, chosen in _by_system(table).items():
        curves[system] = det_curve(table.scores[chosen], table.targets[chosen])[:2]
    write_atomically(written[0], (json.dumps(found, indent=1, allow_nan=False) + "\n").encode())
    plot_det(curves, written[1])
    if found["systems"]:
        written.append(folder / "eer_by_system.png")
        rates = {system: values["eer"] for system, values in found["systems"].items()}
        intervals = {system: tuple(values["eer_interval"]) for system, values in found["systems"].items()}
        plot_by_system(rates, written[2], intervals=intervals, pooled=found["eer"])
    return written


def _by_system(table: ScoreTable) -> dict[str, Tensor]:
    """Each attack's spoofs and all bona fide utterances, as (utterances,) booleans."""
    bonafide = table.targets == 1
    own = {system: torch.tensor([s == system for s in table.systems]) for system in systems_of(table)}
    return {system: (chosen & (table.targets == 0)) | bonafide for system, chosen in own.items()}
