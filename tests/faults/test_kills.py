"""A fit that is killed anywhere leaves nothing torn, and goes on to the same weights, bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.faults import size


def test_killed_fits_go_on(tmp_path: Path) -> None:
    counts = size(2, 150), size(1, 50)
    run = subprocess.run(
        [sys.executable, "-m", "tests.faults.killed_runs", tmp_path, *map(str, counts)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    found = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(found) == sum(counts)
    assert any(f["killed"] for f in found)
    assert [f for f in found if f["torn"] or f["resumed"] or not f["equal"]] == []
