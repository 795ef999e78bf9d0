"""Whatever an artifact's files hold, it loads and runs or is refused in one line: no crash, no hang."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.faults import size
from tests.faults.corpus import CORPUS
from tests.faults.seeds import make_seeds

MOST_MIB = 3000


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds")
    make_seeds(folder)
    soundfile.write(folder / "audio.wav", 0.1 * np.random.default_rng(0).standard_normal(24000), 16000)
    return folder


def outcomes(seeds: Path, first: int, count: int) -> list[tuple[str, str, str]]:
    """(seed, what was changed, outcome) of changed artifacts; one that ends the process is ``bad``."""
    found: list[tuple[str, str, str]] = []
    while len(found) < count:
        start = first + len(found)
        run = subprocess.run(
            [sys.executable, "-m", "tests.faults.fuzz_worker", seeds, str(start), str(count - len(found))],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
            check=False,
        )
        *lines, last = run.stdout.splitlines() or [""]
        found += [tuple(json.loads(line.partition(" ")[2])) for line in lines]
        if run.returncode == 0:
            assert int(last.split()[1]) < MOST_MIB, last
        else:
            found.append(("", f"number {last}", f"bad: the process ended with {run.returncode}: {run.stderr[-500:]}"))
    return found


def test_what_crashed_once_is_refused(seeds: Path) -> None:
    found = outcomes(seeds, -len(CORPUS), len(CORPUS))
    assert [f for f in found if not f[2].startswith("error ")] == []


def test_changed_artifacts(seeds: Path) -> None:
    count = size(45, 20000)
    found = outcomes(seeds, 0, count)
    bad = [f for f in found if f[2].startswith("bad")]
    assert not bad, "\n".join(map(str, bad))
    assert len(found) == count
    good = sum(f[2] == "good" for f in found)
    assert 0 < good < 0.6 * count  # changes do matter, and not to all
