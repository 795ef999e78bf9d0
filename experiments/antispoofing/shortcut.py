"""How far does one get on a set without listening: by duration and noise floor alone, and after cropping?"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from dyn_lightning.data.asvspoof2019 import ASVspoof2019DataModule, EvaluationCrops, TrainingCrops
from dyn_lightning.data.audio import Samples
from dyn_lightning.files import write_atomically
from dyn_lightning.metrics.bootstrap import bootstrap_interval
from dyn_lightning.metrics.eer import eer
from experiments.command import as_command

CROPS = (64600, 64000, 16000)
EPOCHS = 4  # crops of each training file that a probe is fitted on
FRAME, HOP = 400, 160  # 25 ms every 10 ms
FLOOR_PERCENTILE, LOUD_PERCENTILE = 5.0, 95.0
HIGH_BAND_HZ = 7000.0
DURATION, FLOOR, PERIOD, LOUD = [0], [1, 2], [3], [4]
OF_FILES = {
    "duration, noise floor": DURATION + FLOOR,
    "duration": DURATION,
    "noise floor": FLOOR,
    "loud frames": LOUD,
}
OF_CROPS = {
    "period of the repetition, noise floor": PERIOD + FLOOR,
    "period of the repetition": PERIOD,
    "noise floor": FLOOR,
    "loud frames": LOUD,
}
REPORT = Path(__file__).with_suffix(".md")
READING = "## Reading it"  # from here on the report is written by hand, and kept
Measured = tuple[NDArray[np.float64], NDArray[np.int64]]  # statistics (items, 5) and targets (items,)


@dataclass(frozen=True)
class Row:
    """EERs in percent of one input and one choice of statistics, by probe and part, one for each seed."""

    audio: str
    statistics: str
    eer_percent: dict[tuple[str, str], list[float]]


def statistics(samples: Samples, sample_rate: int = 16000) -> list[float]:
    """Duration, noise floor below and above 7 kHz, period of a repetition, and level of the loud frames.

    The floor is the level in dB that 5 % of the frames stay below. The period is in seconds, and the duration where
    nothing repeats. The last is the level that 5 % of the frames exceed, relative to the mean power: high where
    there are long pauses.
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP] * np.hanning(FRAME)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    high = np.fft.rfftfreq(FRAME, 1 / sample_rate) >= HIGH_BAND_HZ
    levels_db = [10 * np.log10(power[:, band].mean(axis=1) + 1e-10) for band in (~high, high)]
    floors_db = [float(np.percentile(levels, FLOOR_PERCENTILE)) for levels in levels_db]
    all_db = 10 * np.log10(power.mean(axis=1) + 1e-10)
    loud_db = float(np.percentile(all_db, LOUD_PERCENTILE) - 10 * np.log10(power.mean() + 1e-10))
    return [len(samples) / sample_rate, *floors_db, repetition_period(samples) / sample_rate, loud_db]


def repetition_period(samples: Samples, overlap: int = 16) -> int:
    """The least shift by which a piece equals itself, as a file has that was repeated to fill a crop."""
    for lag in np.flatnonzero(samples[: len(samples) - overlap] == samples[0])[1:]:
        alike = np.array_equal(samples[lag : lag + overlap], samples[:overlap])
        if alike and np.array_equal(samples[lag:], samples[:-lag]):
            return int(lag)
    return len(samples)


def probes() -> dict[str, Any]:
    """Two small classifiers: logistic regression on products of two statistics, and boosted trees."""
    quadratic = make_pipeline(
        StandardScaler(), PolynomialFeatures(2), StandardScaler(), LogisticRegression(class_weight="balanced")
    )
    return {"logistic": quadratic, "trees": HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=6)}


def whole_files(dataset: TrainingCrops | EvaluationCrops) -> Measured:
    """Statistics of the files as they are."""
    table = [statistics(dataset.store.read(number)) for number in range(len(dataset))]
    return np.array(table), np.array([u.target for u in dataset.utterances])


def crops(dataset: TrainingCrops | EvaluationCrops, epochs: int = 1) -> Measured:
    """Statistics of what a network is given."""
    items = [dataset[key] for key in range(epochs * len(dataset))]
    return np.array([statistics(item["audio"].numpy()) for item in items]), np.array([item["target"] for item in items])


def loaded(data_root: str, n_samples: int, seed: int) -> tuple[TrainingCrops, dict[str, EvaluationCrops]]:
    """What networks are trained and tested on, by the data module with its defaults but for crop and seed."""
    data = ASVspoof2019DataModule(data_root, n_samples=n_samples, train_seed=seed)
    data.setup()
    assert data.train_set is not None
    return data.train_set, data.eval_sets


def scores_of(
    train: Measured, evaluation: dict[str, Measured], columns: list[int]
) -> Iterator[tuple[tuple[str, str], torch.Tensor, torch.Tensor]]:
    """((probe, part), scores, targets) of every probe on every part."""
    for name, probe in probes().items():
        probe.fit(train[0][:, columns], train[1])
        for part, (table, targets) in evaluation.items():
            scores = probe.predict_proba(table[:, columns])[:, 1]
            yield (name, part), torch.from_numpy(scores), torch.from_numpy(targets)


def run(data_root: str, seeds: list[int]) -> tuple[list[Row], list[str]]:
    """All rows, and what else was found."""
    training, evaluation_sets = loaded(data_root, CROPS[0], seeds[0])
    train = whole_files(training)
    evaluation = {part: whole_files(dataset) for part, dataset in evaluation_sets.items()}
    rows = [Row("whole files", name, {}) for name in OF_FILES]
    for row, columns in zip(rows, OF_FILES.values(), strict=True):
        for cell, scores, targets in scores_of(train, evaluation, columns):
            row.eer_percent[cell] = [eer_percent(scores, targets)]
            if row is rows[0] and cell == ("logistic", "eval"):
                low, high = bootstrap_interval(eer_percent, scores, targets)
    notes = [f"95 % interval of the first row's logistic EER on eval, by utterances: {low:.0f} to {high:.0f} %."]
    for n_samples in CROPS:
        cropped = [Row(f"crops of {n_samples:,}", name, {}) for name in OF_CROPS]
        for seed in seeds:
            training, evaluation_sets = loaded(data_root, n_samples, seed)
            train = crops(training, EPOCHS)
            items = {part: crops(dataset) for part, dataset in evaluation_sets.items()}
            for row, columns in zip(cropped, OF_CROPS.values(), strict=True):
                for cell, scores, targets in scores_of(train, items, columns):
                    row.eer_percent.setdefault(cell, []).append(eer_percent(scores, targets))
        rows += cropped
        share = 100 * (evaluation["eval"][0][:, 0] * 16000 < n_samples).mean()
        notes.append(f"{share:.0f} % of the eval files are shorter than {n_samples:,} samples, and repeated there.")
    return rows, notes


def eer_percent(scores: torch.Tensor, targets: torch.Tensor) -> float:
    """In percent; equal scores are half a chance each, as many have here."""
    return 100 * eer(scores, targets)[0]


def markdown(rows: list[Row], notes: list[str]) -> str:
    """The table, EERs in percent; mean ± standard deviation where crops were drawn."""
    cells = [("logistic", "dev"), ("logistic", "eval"), ("trees", "dev"), ("trees", "eval")]
    lines = [
        "| input | statistics | " + " | ".join(f"{probe}, {part}" for probe, part in cells) + " |",
        "|---|---|" + "---|" * len(cells),
    ]
    for row in rows:
        values = [row.eer_percent[cell] for cell in cells]
        lines.append(f"| {row.audio} | {row.statistics} | " + " | ".join(spread(v) for v in values) + " |")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes), ""])


def spread(values: list[float]) -> str:
    """Mean ± standard deviation."""
    deviation = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{deviation}"


def write_report(path: Path, table: str) -> None:
    """Writes the table above what was written by hand."""
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    by_hand = old[old.index(READING) :] if READING in old else f"{READING}\n"
    text = f"""# What duration and noise floor alone tell
EER in percent of two probes that see nothing but the statistics named: fitted on train, {EPOCHS} random crops a file,
and tested on the centre crops of dev (systems of train) and eval (other systems). 50 is chance. Mean ± standard
deviation over the seeds of the training crops. Written by `python -m experiments.antispoofing.shortcut`.

{table}
{by_hand}"""
    write_atomically(path, text.encode())


def main() -> None:
    """Prints the table and writes it into the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data_root", default=os.path.join(os.environ.get("DATA_ROOT", "data"), "MiniSpoof"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", default=str(REPORT), help="the report")
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    table = markdown(*run(args.data_root, args.seeds))
    print(table)
    write_report(Path(args.out), table)


if __name__ == "__main__":
    as_command(main)
