"""What runs were made with: commands by bash itself, revisions by git itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from dyn_lightning.runs.environment import command_line, device_name, revision, typed, versions

SPAWNING = """
from multiprocessing import get_context
from concurrent.futures import ProcessPoolExecutor

def command():
    from dyn_lightning.runs.environment import command_line
    return command_line()

if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        print(pool.submit(command).result())
"""


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_command_is_what_a_shell_makes_the_same_arguments_of(tmp_path, monkeypatch):
    home, here = tmp_path / "home of me", tmp_path / "here"
    for folder in (home, here):
        folder.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    given = [
        "run",
        "--only",
        "learned 25 %",
        "$HOME",
        "it's",
        f"--root={home}/da ta",
        str(home),
        f"{here}/x y",
        "--a=/b=c",
    ]
    command = typed(given)
    assert str(home) not in command
    assert str(here) not in command
    shell = subprocess.run(["bash", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True)
    found = [os.path.normpath(line) if line.startswith("/") else line for line in shell.stdout.splitlines()]
    assert found[:5] == given[:5]
    assert os.path.normpath(found[5].removeprefix("--root=")) == f"{home}/da ta"
    assert found[6:] == [str(home), "x y", "--a=/b=c"]


@pytest.mark.parametrize(
    ("script", "command"),
    [
        ("/x/bin/dyn-lightning", "dyn-lightning"),
        ("a b.py", "python 'a b.py'"),
        ("/x/tool/__main__.py", "python -m tool"),
    ],
)
def test_a_script_is_called_by_what_starts_it(monkeypatch, script, command):
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    monkeypatch.setattr("sys.argv", [script, "--only", "learned 25 %"])
    assert command_line() == f"{command} --only 'learned 25 %'"
    for nothing in ([], [""], ["-c", "print()"]):
        monkeypatch.setattr("sys.argv", nothing)
        assert command_line() is None


def test_a_spawned_process_knows_the_module_that_was_run(tmp_path):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "run.py").write_text(SPAWNING)
    arguments = ["-m", "toy.run", "--only", "learned 25 %", f"--root={tmp_path}/data"]
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "python -m toy.run --only 'learned 25 %' --root=data", done.stderr


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_revision_is_that_of_git_and_says_where_code_was_changed(tmp_path, monkeypatch):
    for name in ("code.py", "results.jsonl"):
        (tmp_path / name).write_text("1\n")
    git(tmp_path, "init", "-q")
    assert revision.__wrapped__(tmp_path) is None  # no commit yet
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    head = git(tmp_path, "rev-parse", "HEAD")[:12]
    (tmp_path / "results.jsonl").write_text("2\n")  # a run appends to it
    assert revision.__wrapped__(tmp_path) == head
    (tmp_path / "code.py").write_text("2\n")
    assert revision.__wrapped__(tmp_path) == f"{head}-dirty"
    (tmp_path / "site-packages").mkdir()  # installed code that lies in the tree of another project
    assert revision.__wrapped__(tmp_path / "site-packages") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert revision.__wrapped__(tmp_path) is None  # no git


def test_devices_and_versions():
    cpu = torch.device("cpu")
    assert device_name(cpu)
    assert device_name(torch.device("mps")) == "mps"
    assert list(versions(cpu)) == ["dyn_lightning", "torch", "lightning", "python"]
    assert versions(torch.device("cuda"))["cuda"] == str(torch.version.cuda)
