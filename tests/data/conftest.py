"""A small data root of generated audio in the official layouts."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE = 16000


def synthetic_speech(seconds: float, seed: int) -> np.ndarray:
    """Bursts of a harmonic tone between pauses, on a faint noise floor 60 dB below."""
    rng = np.random.default_rng(seed)
    n = int(seconds * RATE)
    t = np.arange(n) / RATE
    bursts = np.sin(2 * np.pi * 1.3 * t + seed) > -0.6
    tone = sum(np.sin(2 * np.pi * 130 * k * t) / k for k in range(1, 6))
    return (0.1 * bursts * tone + 1e-4 * rng.standard_normal(n)).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)
    return path


@pytest.fixture
def write_audio():
    return write


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LibriSpeech (10 + 2 speakers), ESC-50 (2 clips a fold) and AMI (1 recording). Not to be written to."""
    root = tmp_path_factory.mktemp("data_root")
    for speaker in range(10):
        name = f"LibriSpeech/train-clean-100/{100 + speaker}/7/{100 + speaker}-7-0000.flac"
        write(root / name, synthetic_speech(3.0 + 0.1 * speaker, speaker))
    for speaker in range(2):
        name = f"LibriSpeech/test-clean/{900 + speaker}/7/{900 + speaker}-7-0000.flac"
        write(root / name, synthetic_speech(3.0, 50 + speaker))
    rows = []
    for fold in range(1, 6):
        for take in "AB":
            name = f"{fold}-1234-{take}-0"
            noise = 0.05 * np.random.default_rng(fold).standard_normal(int(1.7 * RATE)).astype(np.float32)
            write(root / "ESC-50/audio" / f"{name}.flac", noise)
            rows.append({"filename": f"{name}.wav", "fold": fold, "target": 0, "category": "rain"})
    (root / "ESC-50/meta").mkdir()
    with open(root / "ESC-50/meta/esc50.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write(root / "AMI/mtg.flac", synthetic_speech(5.0, 99))
    (root / "AMI/test.rttm").write_text("SPEAKER mtg 1 1.000 0.500 <NA> <NA> A <NA> <NA>\n")
    (root / "AMI/test.uem").write_text("mtg NA 0.500 4.000\n")
    return root
