"""What has become of a sweep's runs: one JSON line for each start and each end.

Plain lines, as all results are: each is written as a whole or not at all, so that several processes may write without a
server, a power cut costs one line at most, and any tool can read, compare and merge them.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dyn_lightning.runs import append_result, read_results
from dyn_lightning.runs.latest import time_of
from dyn_lightning.sweep.file import SweepRun
from dyn_lightning.sweep.space import SweepError

JOURNAL = "journal.jsonl"
RESULTS = "results.jsonl"
Status = Literal["finished", "failed", "stopped"]


@dataclass(frozen=True)
class Journal:
    """The journal of a sweep's folder; several processes may write to it at once.

    Attributes:
        path: of the file.
    """

    path: Path

    def started(self, run: SweepRun, command: list[str], checkpoint: Path | None, pid: int, records: int) -> None:
        """Note that a run has begun, or goes on from a checkpoint, and how many records its folder has."""
        self._append(
            run,
            "started",
            command=shlex.join(command),
            checkpoint=None if checkpoint is None else os.fspath(checkpoint),
            pid=pid,
            records=records,
        )

    def ended(
        self, run: SweepRun, status: Status, exit_code: int, wall_time_s: float, record: Mapping[str, Any] | None
    ) -> None:
        """Note how a run has ended, with its own record where it wrote one."""
        self._append(run, status, exit_code=exit_code, wall_time_s=round(wall_time_s, 3), record=record)

    def _append(self, run: SweepRun, event: str, **values: Any) -> None:
        append_result(
            self.path,
            {"run": run.key, "parameters": dict(run.parameters), "event": event, "time_utc": now_utc(), **values},
        )

    def latest(self) -> dict[str, dict[str, Any]]:
        """Run → its latest line.

        Raises:
            SweepError: for a file that is no journal.
        """
        lines = read_results(self.path) if self.path.is_file() else []
        if any("run" not in line or "event" not in line for line in lines):
            raise SweepError(f"{self.path}: has lines that are no journal's. Give another folder")
        return {line["run"]: line for line in lines}


def count_records(folder: Path) -> int:
    """Lines of a run's own ``results.jsonl``, whatever they hold."""
    path = folder / RESULTS
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def new_record(folder: Path, before: int, since_utc: str) -> dict[str, Any] | None:
    """The latest of a run's own records, if it is new: there are more lines, or a resumed run has replaced its own.

    Args:
        folder: of the run.
        before: lines that there were when the process began.
        since_utc: when that was.

    Raises:
        FileError: if it cannot be read.
    """
    lines = count_records(folder)
    records = read_results(folder / RESULTS) if lines else []
    if not records or (lines <= before and time_of(records[-1]) <= since_utc):
        return None
    return records[-1]


def now_utc() -> str:
    """The time as journal and records write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
