"""Made-up corpora in the official layouts of ASVspoof, a few hundred samples a file."""

from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
PARTS = {"train": "trn", "dev": "trl", "eval": "trl"}


def write_flac(path: Path, n_samples: int, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(seed).standard_normal(n_samples)
    soundfile.write(path, samples, RATE, subtype="PCM_16")
    return path


def write_lines(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def make_2019(
    root: Path,
    access: str = "LA",
    n_bona_fide: int = 3,
    n_spoof: int = 2,
    n_samples: int = 700,
    asv_scores: bool = False,
    systems: dict[str, list[str]] | None = None,
) -> Path:
    """A root with all three parts; file ``i`` of a part has ``n_samples + 10 i`` samples."""
    systems = systems or {"train": ["A01", "A02"], "dev": ["A01", "A02"], "eval": ["A07", "A08", "A09"]}
    third = "-" if access == "LA" else "aaa"
    for part in PARTS:
        keys = [("-", "bonafide")] * n_bona_fide + [(s, "spoof") for s in systems[part] for _ in range(n_spoof)]
        lines = []
        for i, (system, key) in enumerate(keys):
            name = f"{access}_{part[0].upper()}_{i:07d}"
            write_flac(root / f"ASVspoof2019_{access}_{part}/flac/{name}.flac", n_samples + 10 * i, seed=i)
            lines.append(f"{access}_{i % 2:04d} {name} {third} {system} {key}")
        write_lines(protocol_2019(root, part, access), lines)
        if asv_scores and part != "train":
            lines = asv_score_lines(systems[part])  # each line twice in eval: the same rates, another file
            write_lines(scores_2019(root, part, access), lines * (2 if part == "eval" else 1))
    return root


def asv_score_lines(systems: list[str]) -> list[str]:
    """At its EER's threshold, 1, the system accepts a quarter of the non-targets and rejects half of the spoofs."""
    lines = [f"bonafide target {score}" for score in (1.0, 3.0, 4.0, 5.0)]
    lines += [f"bonafide nontarget {score}" for score in (-2.0, -1.0, 0.0, 2.0)]
    return lines + [f"{system} spoof {score}" for system in systems for score in (-5.0, 4.5)]


def protocol_2019(root: Path, part: str, access: str = "LA") -> Path:
    return root / f"ASVspoof2019_{access}_cm_protocols/ASVspoof2019.{access}.cm.{part}.{PARTS[part]}.txt"


def scores_2019(root: Path, part: str, access: str = "LA") -> Path:
    return root / f"ASVspoof2019_{access}_asv_scores/ASVspoof2019.{access}.asv.{part}.gi.trl.scores.txt"


def make_2021(root: Path, track: str = "LA") -> Path:
    """Bona fide and spoofed speech of the evaluation subset, and one utterance of each other subset."""
    if track == "LA":
        lines = [
            "LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval",
            "LA_0020 LA_E_7294490 g722 loc_tx bonafide bonafide notrim eval",
            "LA_0031 LA_E_5000001 none loc_tx A10 spoof notrim progress",
            "LA_0031 LA_E_5000002 none loc_tx bonafide bonafide trim hidden",
        ]
    else:
        lines = [
            "LA_0023 DF_E_2000011 nocodec asvspoof A14 spoof notrim eval traditional_vocoder - - - -",
            "TEF2 DF_E_2000013 low_m4a vcc2020 Task1-team20 spoof notrim eval unknown Task1 team20 FF E",
            "LA_0043 DF_E_2000024 mp3m4a asvspoof - bonafide notrim eval bonafide - - - -",
            "LA_0023 DF_E_2000026 low_ogg asvspoof A09 spoof notrim progress traditional_vocoder - - - -",
        ]
    write_lines(root / f"keys/{track}/CM/trial_metadata.txt", lines)
    for i, line in enumerate(lines):
        write_flac(root / f"ASVspoof2021_{track}_eval/flac/{line.split()[1]}.flac", 500 + i, seed=i)
    return root


def make_5(root: Path, folder: str = "ASVspoof5_protocols") -> Path:
    """All three parts; dev and eval have a file that only enrols a speaker."""
    files = {
        "train": ("ASVspoof5.train.tsv", "flac_T", "A05"),
        "dev": ("ASVspoof5.dev.track_1.tsv", "flac_D", "A11"),
        "eval": ("ASVspoof5.eval.track_1.tsv", "flac_E_eval", "A20"),
    }
    for part, (name, audio, attack) in files.items():
        letter = part[0].upper()
        lines = [
            f"{letter}_0001 {letter}_0000000001 F - - - AC3 {attack} spoof -",
            f"{letter}_0002 {letter}_0000000002 M C05 2 {letter}_0000000009 - bonafide bonafide -",
        ]
        write_lines(root / folder / name, lines)
        names = [f"{letter}_0000000001", f"{letter}_0000000002"]
        if part != "train":
            write_lines(root / folder / f"ASVspoof5.{part}.track_2.enroll.tsv", [f"{letter}_0003 {letter}_0000000003"])
            names.append(f"{letter}_0000000003")
        for i, utterance in enumerate(names):
            write_flac(root / audio / f"{utterance}.flac", 500 + i, seed=i)
    return root
