"""On a full disk commands end in one line, and what was whole before still is."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dyn_lightning.module.checkpoint_io import read_checkpoint
from dyn_lightning.runs import append_result, read_results
from tests.faults import size

CONFIGS = Path(__file__).parents[2] / "configs"
FIT = [
    *("fit", "-c", str(CONFIGS / "task" / "filter_bank.yaml"), "-c", str(CONFIGS / "dynamic" / "budget.yaml")),
    *("-c", str(CONFIGS / "trainer" / "cpu.yaml"), "--results", "results.jsonl", "--trainer.max_epochs=2"),
    *("--data.batch_size=4", "--data.batches_per_epoch=2", "--data.eval_batches=1"),
    *("--phases.warmup_epochs=1", "--phases.search_epochs=1"),
]


def limited(most_bytes: int) -> Callable[[], None]:
    """No file may grow beyond this, as on a disk that is full."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    return limit


def run(folder: Path, arguments: list[str], most_bytes: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dyn_lightning.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        preexec_fn=limited(most_bytes),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )


def last_lines(found: subprocess.CompletedProcess[str]) -> list[str]:
    assert "Traceback" not in found.stderr, found.stderr[-3000:]
    return found.stderr.strip().splitlines()[-1:]


@pytest.mark.parametrize("most_bytes", [20_000, *range(2_000, 2_000 + 4_000 * size(0, 12), 4_000)])
def test_a_fit_ends_in_one_line(tmp_path: Path, most_bytes: int) -> None:
    found = run(tmp_path, FIT, most_bytes)
    assert found.returncode == 1
    assert "would be larger than is allowed here" in "".join(last_lines(found))
    for path in tmp_path.rglob("*.ckpt"):
        read_checkpoint(path)
    assert not list(tmp_path.rglob("*.part"))


def test_results_are_whole(tmp_path: Path) -> None:
    """Lines until there is no room: each is there as a whole, or its writer says that it is not."""
    path = tmp_path / "results.jsonl"
    code = (
        "import sys; sys.path.insert(0, '.'); from dyn_lightning.runs import append_result\n"
        f"for i in range({size(20, 2000)}): append_result({str(path)!r}, {{'i': i, 'text': 'x' * (97 * i % 1009)}})"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        preexec_fn=limited(5_000),
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert "would be larger than is allowed here" in found.stderr
    before = read_results(path)
    assert path.read_text().endswith("}\n")
    append_result(path, {"i": -1})
    assert [r["i"] for r in read_results(path)] == [*range(len(before)), -1]
