"""Sweeps of a small program: what it does is said by its arguments."""

import io
import queue
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from rich.console import Console
from wandb import wandb_agent

from dyn_lightning.sweep.file import SweepRun, read_sweep, runs_of

PROGRAM = textwrap.dedent(
    """
    import json, os, pathlib, signal, subprocess, sys, time

    folder = pathlib.Path(os.environ["SWEEP_RUN_DIR"])
    given = dict(word.lstrip("-").split("=", 1) for word in sys.argv[1:] if "=" in word)
    with open("calls.txt", "a") as file:
        file.write(json.dumps([given, os.getpid()]) + "\\n")
    print("working on", given, flush=True)
    act = given.get("act", "")
    if act == "fail":
        print("this is why", file=sys.stderr)
        sys.exit(3)
    if act == "meet":  # waits for another run
        pathlib.Path(f"here-{given['a']}").touch()
        until = time.monotonic() + 30
        while len(list(pathlib.Path().glob("here-*"))) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        sys.exit(0 if time.monotonic() < until else 4)
    if act == "hang":
        if given.get("deaf") == "True":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        worker = subprocess.Popen(["sleep", "100"])
        pathlib.Path("hanging.txt").write_text(f"{os.getpid()} {worker.pid}")
        time.sleep(100)
    record = {"metrics": {"val/eer": 0.01 * float(given["a"])}, "flops_per_second": 1e6 / float(given["a"]),
              "config": given, "config_hash": f"hash-{given['a']}", "seed": 0, "dataset": "none"}
    if act != "silent":
        with open(folder / "results.jsonl", "a") as file:
            file.write(json.dumps(record) + "\\n")
    """
)


class CaughtProcess:
    """Stands where W&B's agent would start a process."""

    commands: ClassVar[list[list[str]]] = []

    def __init__(self, command: list[str], env: dict[str, str], forward_signals: bool) -> None:
        self.commands.append(command)


@pytest.fixture
def agents_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What W&B's own agent runs for a command with parameters."""
    monkeypatch.setattr(wandb_agent, "AgentProcess", CaughtProcess)
    for name in ("WANDB_DIR", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(name, str(tmp_path / "agent"))  # the agent sets them itself: put back afterwards

    def command_of(command: Sequence[Any], parameters: Mapping[str, Any]) -> list[str]:
        agent = wandb_agent.Agent(None, queue.Queue())
        agent._sweep_command = list(command)
        args = {name: {"value": value} for name, value in parameters.items()}
        agent._command_run({"run_id": "abc123", "program": None, "args": args})
        return CaughtProcess.commands.pop()

    return command_of


@pytest.fixture
def make_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a sweep file of the small program; gives its path."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "program.py").write_text(PROGRAM)

    def make(*, extra=(), **content) -> Path:
        command = ["${interpreter}", "${program}", *extra, "${args}"]
        path = tmp_path / "small.yaml"
        whole = {
            "method": "grid",
            "program": "program.py",
            "command": command,
            "metric": {"name": "val/eer"},
            **content,
        }
        path.write_text(yaml.safe_dump(whole))
        return path

    return make


@pytest.fixture
def make_runs(make_sweep):
    def make(**options) -> list[SweepRun]:
        return runs_of(read_sweep(make_sweep(**options)))

    return make


@pytest.fixture
def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)
