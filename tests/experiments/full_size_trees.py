"""Made-up corpora in official layouts and of full size, but for a tenth of VCTK; files are links to a few tiny ones."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile

from tests.data.asvspoof_tree import asv_score_lines, protocol_2019, scores_2019, write_lines
from tests.data.conftest import synthetic_speech

# Parts of ASVspoof2019 LA: bona fide, spoofs of a system, systems, speakers, and files that only enrol speakers.
LA = {
    "train": (2580, 3800, [f"A{n:02d}" for n in range(1, 7)], range(79, 99), 0),
    "dev": (2548, 3716, [f"A{n:02d}" for n in range(1, 7)], range(69, 79), 142),
    "eval": (7355, 4914, [f"A{n:02d}" for n in range(7, 20)], range(1, 68), 696),
}
VCTK_SPEAKERS, VCTK_UTTERANCES = 110, 40  # a tenth of the official ones
ESC50_CLASSES, ESC50_CLIPS = 50, 40
LINKS_A_FILE = 20_000  # file systems allow at least 32,000
DURATION_S = 1.1


def make_full_size(root: Path) -> Path:
    """ASVspoof2019 LA, a tenth of VCTK 0.92, and ESC-50 below a root."""
    make_asvspoof(root / "LA")
    make_vctk(root / "VCTK-Corpus-0.92")
    make_esc50(root / "ESC-50")
    return root


def make_asvspoof(root: Path) -> None:
    """All 121,461 utterances with protocols, speaker verification's scores and enrolment."""
    for number, (part, (n_bona_fide, n_spoof, systems, speakers, n_enrolled)) in enumerate(LA.items()):
        folder = root / f"ASVspoof2019_LA_{part}/flac"
        folder.mkdir(parents=True)
        sources = source_files(root / "sources", f"{part}", 16000, ".flac")
        keys = [("-", "bonafide")] * n_bona_fide + [(s, "spoof") for s in systems for _ in range(n_spoof)]
        order = np.random.default_rng(number).permutation(len(keys))
        names = [f"LA_{part[0].upper()}_{1_000_000 + i:07d}" for i in range(len(keys) + n_enrolled)]
        speaker = itertools.cycle(speakers)
        lines = [
            f"LA_{next(speaker):04d} {name} - {keys[i][0]} {keys[i][1]}" for name, i in zip(names, order, strict=False)
        ]
        write_lines(protocol_2019(root, part), lines)
        link_all((folder / f"{name}.flac" for name in names), sources)
        if part != "train":
            write_lines(scores_2019(root, part), asv_score_lines(systems))
            enrolment = f"ASVspoof2019_LA_asv_protocols/ASVspoof2019.LA.asv.{part}.female.trn.txt"
            write_lines(root / enrolment, [f"LA_{speakers[0]:04d} {','.join(names[len(keys) :])}"])


def make_vctk(root: Path) -> None:
    """A tenth of VCTK: 110 speakers, all there are, with 40 utterances each by two microphones, 48 kHz."""
    folder = root / "wav48_silence_trimmed"
    paths = []
    for speaker in range(VCTK_SPEAKERS):
        (folder / f"p{225 + speaker}").mkdir(parents=True)
        stems = (f"p{225 + speaker}/p{225 + speaker}_{n:03d}" for n in range(1, VCTK_UTTERANCES + 1))
        paths += [folder / f"{stem}_mic{mic}.flac" for stem in stems for mic in (1, 2)]
    link_all(paths, source_files(root / "sources", "speech", 48000, ".flac"))


def make_esc50(root: Path) -> None:
    """2000 clips of 50 classes in five folds, 44.1 kHz, with the table."""
    (root / "audio").mkdir(parents=True)
    (root / "meta").mkdir()
    rows = []
    for target, clip in itertools.product(range(ESC50_CLASSES), range(ESC50_CLIPS)):
        fold, source = 1 + clip % 5, 100_000 + 50 * clip + target
        name = f"{fold}-{source}-A-{target}.wav"
        rows.append([name, fold, target, f"class_{target}", target < 10, source, "A"])
    with open(root / "meta/esc50.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
        writer.writerows(rows)
    link_all((root / "audio" / row[0] for row in rows), source_files(root / "sources", "noise", 44100, ".wav"))


def source_files(folder: Path, name: str, rate: int, suffix: str) -> Iterator[Path]:
    """Ever new files of tiny audio: bursts of a tone, or noise."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in itertools.count():
        samples = synthetic_speech(DURATION_S, seed)
        if name == "noise":
            samples = 0.05 * np.random.default_rng(seed).standard_normal(len(samples))
        path = folder / f"{name}-{seed}{suffix}"
        soundfile.write(path, samples, rate)
        yield path


def link_all(paths: Iterable[Path], sources: Iterator[Path]) -> None:
    """Every path a link, no file having too many."""
    for number, path in enumerate(paths):
        if number % LINKS_A_FILE == 0:
            source = next(sources)
        os.link(source, path)
