"""Audio and annotations with bytes changed, cut off or added: read, or refused in one line, and in little time."""

import itertools
import random
import time

import numpy as np
import pytest
import soundfile

from dyn_lightning.data.annotations import read_lab, read_rttm, read_uem
from dyn_lightning.data.audio import AudioError, AudioFile, DatasetError
from dyn_lightning.data.score_files import read_scores
from tests.faults import size

RATE = 16000
CASES = size(40, 2000)
CONTAINERS = {
    "wav": {},
    "rf64": {"format": "RF64"},
    "w64": {},
    "au": {},
    "aiff": {},
    "caf": {},
    "flac": {},
    "mp3": {},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
}


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The content with a few bytes of its beginning changed, with an extreme number there, cut, or with more behind."""
    changed, head = bytearray(content), min(len(content), 120)
    kind = rng.randrange(4)
    if kind == 0:
        for _ in range(rng.randint(1, 6)):
            changed[rng.randrange(head)] = rng.randrange(256)
    elif kind == 1:
        start = rng.randrange(head - 8)
        changed[start : start + 4] = bytes([rng.choice([0, 127, 255])]) * 4
    elif kind == 2:
        del changed[rng.randrange(len(changed)) :]
    else:
        changed += rng.randbytes(rng.randint(1, 200))
    return bytes(changed)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_audio(tmp_path, suffix):
    rng, path = random.Random(suffix), tmp_path / f"a.{suffix}"
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, 6000)
    soundfile.write(path, samples, RATE, **{"format": suffix.upper(), **CONTAINERS[suffix]})
    content = path.read_bytes()
    refused, longest_s = [], 0.0
    for _ in range(CASES):
        path.write_bytes(damaged(content, rng))
        start_s = time.process_time()
        try:
            with AudioFile(path) as file:
                blocks = list(file.blocks())
            assert sum(map(len, blocks)) <= 60 * RATE
        except AudioError as error:
            refused.append(str(error))
        longest_s = max(longest_s, time.process_time() - start_s)
    assert not [text for text in refused if "\n" in text or str(path) not in text]
    assert longest_s < 5.0


TEXTS = {
    read_rttm: b"SPEAKER x 1 0.5 1.25 <NA> <NA> A <NA> <NA>\nNOSCORE x 1 3 1 <NA> <NA> <NA> <NA> <NA>\n" * 3,
    read_uem: b"x 1 0.5 1.25\ny NA 3 40\n" * 4,
    read_lab: b"0 0.5 sil\n0.5 1.25 A\n1.25 7 nonspeech\n" * 3,
    read_scores: b"U1 - bonafide 1.5\nU2 A01 spoof -0.25\nU3 A02 spoof 1e-3\n",
}


@pytest.mark.parametrize("read", TEXTS)
def test_text(tmp_path, read):
    rng, path = random.Random(0), tmp_path / "a.txt"
    refused = []
    for _ in range(CASES):
        path.write_bytes(damaged(TEXTS[read], rng))
        try:
            found = read(path)
        except DatasetError as error:
            refused.append(str(error))
            continue
        if read is not read_scores:
            segments = found if read is read_lab else itertools.chain.from_iterable(found.values())
            assert all(0 <= start <= end < float("inf") for start, end in segments)
    assert refused
    assert all(str(path) in text for text in refused)
