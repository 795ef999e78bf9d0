"""Loads and runs changed artifacts, one after another, and says of each what became of it; a process of its own.

``python -m tests.faults.fuzz_worker SEEDS FIRST COUNT``: a line ``NUMBER OUTCOME`` each, where the outcome is ``good``,
``error MESSAGE`` or ``bad MESSAGE``.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from dyn_lightning.artifact import load_artifact
from dyn_lightning.errors import UserError
from dyn_lightning.inference import predict_files
from dyn_lightning.report.sources import read_sources
from tests.faults.corpus import CORPUS, apply
from tests.faults.mutations import mutate
from tests.faults.seeds import input_of

PREDICT_EACH = 4
LONGEST_S = 60
MOST_BYTES = 12 * 2**30  # of addresses, of which torch itself takes several


def use(folder: Path, name: str, audio: Path | None) -> None:
    """What commands do with an artifact."""
    network, _ = load_artifact(folder)
    with torch.inference_mode():
        for length in (0, 1):
            network(input_of(name, length))
    if audio is not None:
        predict_files(folder, [audio], folder / "predictions")


def outcome_of(action: Callable[[], object]) -> str:
    """``good``, ``error …`` for one clear line, ``bad …`` for anything else."""
    try:
        action()
    except UserError as error:
        lines = str(error).splitlines()
        return f"error {lines[0][:300]}" if len(lines) == 1 and lines[0] else f"bad {len(lines)} lines {lines[:2]}"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"bad {type(error).__name__} {str(error)[:200]!r} at {place.filename}:{place.lineno}"
    return "good"


def main(seeds: Path, first: int, count: int) -> None:
    """Numbers below 0 are those of the corpus."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a hang ends the process
    names = sorted(path.name for path in seeds.iterdir() if path.is_dir())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "artifact")
        for number in range(first, first + count):
            print(number, end=" ", flush=True)
            signal.alarm(LONGEST_S)
            if number < 0:
                name, said = CORPUS[-number - 1].seed, apply(CORPUS[-number - 1], seeds, folder)
            else:
                name = names[number % len(names)]
                said = mutate(seeds / name, folder, number)
            audio = seeds / "audio.wav" if name != "mixed" and number % PREDICT_EACH == 0 else None
            if said.startswith("report.json"):
                found = outcome_of(lambda: read_sources([folder / "report.json"]))
            else:
                found = outcome_of(lambda: use(folder, name, audio))  # noqa: B023
            signal.alarm(0)
            print(json.dumps([name, said, found]), flush=True)
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "MiB", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
