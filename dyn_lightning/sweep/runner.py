"""Runs of a sweep on this machine: processes of their own, several at a time, that stop and go on."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any

from rich.console import Console

from dyn_lightning.sweep.file import SweepRun
from dyn_lightning.sweep.journal import JOURNAL, Journal, Status, count_records, new_record, now_utc
from dyn_lightning.sweep.progress import Progress

RUN_DIR = "SWEEP_RUN_DIR"
LOG = "log.txt"
_OWN_COMMAND = "dyn_lightning.cli"
_LOG_LINES = 15
_CANNOT_RUN = 127
_POLL_S = 0.2
GRACE_S = 20.0


@dataclass
class _Process:
    """A run at work. Its lock stands for as long as the process, or a worker of it, lives: whatever becomes of us."""

    run: SweepRun
    folder: Path
    lock: IO[str]
    popen: subprocess.Popen[bytes]
    records: int  # that its folder had before
    started_s: float = field(default_factory=time.monotonic)
    started_utc: str = field(default_factory=now_utc)

    @property
    def wall_time_s(self) -> float:
        return time.monotonic() - self.started_s

    def record(self) -> dict[str, Any] | None:
        """The record that it wrote, if it has."""
        return new_record(self.folder, self.records, self.started_utc)

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):  # it may just have ended
            os.killpg(self.popen.pid, number)


class _StopRequest:
    """Counts the signals that ask to stop."""

    count = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.count += 1

    @contextmanager
    def installed(self) -> Iterator[_StopRequest]:
        numbers = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
        before = {number: signal.signal(number, self) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass(frozen=True)
class Outcome:
    """What has become of the runs.

    Attributes:
        latest: run → its latest line of the journal; runs that never began have none.
        elsewhere: runs at work in another process.
        stopped: whether a signal ended the sweep.
    """

    latest: dict[str, dict[str, Any]]
    elsewhere: frozenset[str]
    stopped: bool


def run_all(
    runs: Sequence[SweepRun], folder: str | os.PathLike[str], *, jobs: int, console: Console, metric: str | None = None
) -> Outcome:
    """Run what is not finished, ``jobs`` processes at a time.

    Each run has a folder ``<folder>/<key>``, named to it by the environment variable ``SWEEP_RUN_DIR``, with its
    output in ``log.txt``. Where a run left a ``last.ckpt`` there, it goes on from it. A run that fails stops no other.
    SIGINT, SIGTERM and SIGHUP stop all of them; what had not finished goes on with the next call. Several processes
    may work on one folder: none takes a run that another has.

    Args:
        runs: in the order in which to begin them.
        folder: of the sweep.
        jobs: processes at a time.
        console: what is said along the way.
        metric: that is said of each run that has finished.
    """
    folder = Path(folder).resolve()
    journal = Journal(folder / JOURNAL)
    before = journal.latest()
    pending = deque(run for run in runs if before.get(run.key, {}).get("event") != "finished")
    console.print(f"{len(pending)} runs to do, {len(runs) - len(pending)} finished in {folder}", highlight=False)
    progress = Progress(len(runs), len(runs) - len(pending), jobs, metric)
    active: list[_Process] = []
    elsewhere: dict[str, SweepRun] = {}
    with _StopRequest().installed() as stop:
        try:
            while (pending or active) and not stop.count:
                while pending and len(active) < jobs and not stop.count:
                    run = pending.popleft()
                    lock = _locked(folder / run.key)
                    if lock is None:
                        elsewhere[run.key] = run
                    elif _is_done(run, folder / run.key, journal, before.get(run.key), console):
                        progress.done += 1
                        lock.close()
                    elif (process := _start(run, folder / run.key, lock, journal, jobs, console)) is not None:
                        active.append(process)
                for process in [p for p in active if p.popen.poll() is not None]:
                    active.remove(process)
                    _end(process, journal, console, progress)
                if not (pending or active):  # what another process has begun may have been left since
                    pending.extend(_left_by_others(elsewhere, folder, journal))
                time.sleep(_POLL_S if active else 0)
        finally:
            if active:
                _stop(active, journal, stop, console, progress)
    latest = journal.latest()
    at_work = frozenset(key for key in elsewhere if latest.get(key, {}).get("event", "started") == "started")
    return Outcome(latest, at_work, bool(stop.count))


def _is_done(run: SweepRun, folder: Path, journal: Journal, before: Mapping[str, Any] | None, console: Console) -> bool:
    """Whether a run whose lock is ours needs no running: the journal is read anew, as others may write to it.

    Another process may have finished it, or failed, since we looked; or it wrote its record and was killed before that
    could be noted.
    """
    line = journal.latest().get(run.key)
    if line is None:
        return False
    if line["event"] == "finished" or (line["event"] == "failed" and line != before):
        return True
    try:
        noted = line["event"] == "started" and {"records", "time_utc"} <= line.keys()
        record = new_record(folder, line["records"], line["time_utc"]) if noted else None
    except ValueError:  # it is made again
        record = None
    if record is None:
        return False
    journal.ended(run, "finished", 0, 0.0, record)
    console.print(f"{run.key} had written its record before it was killed: finished", highlight=False)
    return True


def _left_by_others(elsewhere: dict[str, SweepRun], folder: Path, journal: Journal) -> list[SweepRun]:
    """Runs of other processes that no process works on any more, and that have not ended."""
    latest, left = journal.latest(), []
    for key, run in list(elsewhere.items()):
        if latest.get(key, {}).get("event", "started") not in ("started", "stopped"):
            del elsewhere[key]
        elif (lock := _locked(folder / key)) is not None:
            lock.close()
            del elsewhere[key]
            left.append(run)
    return left


def _locked(folder: Path) -> IO[str] | None:
    """The lock of a run's folder, or None where another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = open(folder / "lock", "a")  # noqa: SIM115 (held for as long as the run lasts)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _start(
    run: SweepRun, folder: Path, lock: IO[str], journal: Journal, jobs: int, console: Console
) -> _Process | None:
    """Begin a run, or go on with it; None where its program cannot be run."""
    checkpoint = _latest_checkpoint(folder)
    records = count_records(folder)
    command = [*run.command, *([] if checkpoint is None else [f"--ckpt_path={checkpoint}"])]
    how = "started" if checkpoint is None else "goes on from its last checkpoint"
    described = " ".join(f"{name}={value}" for name, value in run.parameters.items())
    console.print(f"{run.key} {how}: {described}", highlight=False, markup=False)
    with open(folder / LOG, "ab") as log:
        log.write(f"$ {shlex.join(command)}\n".encode())
        log.flush()
        try:
            popen = subprocess.Popen(
                command,
                env=run_environment(run, folder, jobs),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that it can be stopped with its workers, and Ctrl-C reaches us alone
                pass_fds=(lock.fileno(),),
            )
        except OSError as error:
            log.write(f"{error}\n".encode())
            console.print(f"{run.key} cannot be run: {error}", style="bold", markup=False)
            journal.ended(run, "failed", _CANNOT_RUN, 0.0, None)
            lock.close()
            return None
    journal.started(run, command, checkpoint, popen.pid, records)
    return _Process(run, folder, lock, popen, records)


def run_environment(run: SweepRun, folder: Path, jobs: int) -> dict[str, str]:
    """Environment of a run: its folder, its W&B run, this interpreter as ``python``, and its share of the cores."""
    environment = dict(os.environ)
    # A service that outlives a killed run would not give its ID to the run that goes on.
    environment.pop("WANDB_SERVICE", None)
    environment |= {RUN_DIR: os.fspath(folder), "WANDB_RUN_ID": run.key, "WANDB_RESUME": "allow"}
    environment["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    return environment


def _latest_checkpoint(folder: Path) -> Path | None:
    return max(folder.rglob("last.ckpt"), key=lambda path: path.stat().st_mtime, default=None)


def _end(process: _Process, journal: Journal, console: Console, progress: Progress) -> None:
    """Note the end of a process that was not asked to stop."""
    run, code, log = process.run, process.popen.returncode, process.folder / LOG
    record, problem = None, None
    try:
        record = process.record()
    except ValueError as error:
        problem = f"wrote a record that cannot be read ({error})"
    if code < 0 and record is None:
        problem = f"was killed by {signal.Signals(-code).name}"
    elif code > 0:
        problem = f"failed with exit status {code}"
    elif record is None and problem is None and _OWN_COMMAND in run.command:
        # Lightning exits with 0 where SIGTERM ends a fit.
        problem = "exited with 0, but without a record: it was terminated, or lacks -c configs/sweeps/parts/run.yaml"
    _note(process, journal, "finished" if problem is None else "failed", record)
    told = progress.ended(process.wall_time_s, record)
    if problem is None:
        console.print(f"{run.key} finished: {told}", highlight=False)
        return
    console.print(f"{run.key} {problem} ({told}). The end of {log}:", style="bold", highlight=False, markup=False)
    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    console.print("\n".join(f"  {line}" for line in lines), highlight=False, markup=False)


def _note(process: _Process, journal: Journal, status: Status, record: dict[str, Any] | None) -> None:
    journal.ended(process.run, status, process.popen.returncode, process.wall_time_s, record)
    process.lock.close()


def _stop(active: list[_Process], journal: Journal, stop: _StopRequest, console: Console, progress: Progress) -> None:
    """End all processes: asked first, killed after a grace or at a second signal."""
    console.print(f"stopping {len(active)} runs (again to kill them)", highlight=False)
    ended = [process for process in active if process.popen.poll() is not None]
    for process in ended:
        _end(process, journal, console, progress)
    running = [process for process in active if process not in ended]
    for process in running:
        process.signal(signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while any(p.popen.poll() is None for p in running) and time.monotonic() < deadline and stop.count < 2:
        time.sleep(_POLL_S)
    for process in running:
        process.signal(signal.SIGKILL)  # what is left of the group, its workers too
        process.popen.wait()
        record = None
        with suppress(ValueError):  # it may have come to its end all the same
            record = process.record()
        _note(process, journal, "stopped" if record is None else "finished", record)
