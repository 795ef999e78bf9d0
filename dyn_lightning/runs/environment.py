"""What a run was made with: command, revision of the code, and kind of machine; nothing that tells whose it is."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import lightning
import torch

import dyn_lightning

CHECKOUT = Path(dyn_lightning.__file__).resolve().parents[1]
_GIT_S = 10.0


def versions(device: torch.device) -> dict[str, str]:
    """Versions of the libraries that decide a run's numbers; CUDA's where it ran on it."""
    found = {
        "dyn_lightning": dyn_lightning.__version__,
        "torch": str(torch.__version__),
        "lightning": lightning.__version__,
        "python": platform.python_version(),
    }
    return {**found, "cuda": str(torch.version.cuda)} if device.type == "cuda" else found


def command_line() -> str | None:
    """The command that this process, or the one that spawned it, was started with; None where it was typed into a shell
    of Python."""
    if hasattr(sys, "ps1") or sys.argv[:1] in ([], [""], ["-c"]):
        return None
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None:
        return typed(["python", "-m", spec.name.removesuffix(".__main__"), *sys.argv[1:]])
    script = Path(sys.argv[0])
    start = ["python", str(script)] if script.suffix == ".py" else [script.name]
    if script.name == "__main__.py":  # of a package, which processes that it spawns are not told
        start = ["python", "-m", script.parent.name]
    return typed([*start, *sys.argv[1:]])


def typed(arguments: Sequence[str]) -> str:
    """A command as a shell takes it, its paths from the working directory or ``$HOME``.

    >>> typed(["run", "--only", "learned 25 %", "--lr=0.1"])
    "run --only 'learned 25 %' --lr=0.1"
    """
    return " ".join(map(_typed, arguments))


def _typed(argument: str) -> str:
    option, equals, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
    for root, stands_for in ((os.getcwd(), ""), (os.path.expanduser("~"), '"$HOME"/')):
        if value == root or value.startswith(f"{root}{os.sep}"):
            return f"{option}{equals}{stands_for}{shlex.quote(os.path.relpath(value, root))}"
    return shlex.quote(argument)


@cache
def revision(checkout: Path = CHECKOUT) -> str | None:
    """The commit that the code is of, with "-dirty" where its Python files differ from it; None outside of a checkout.

    It is read once in a process, when first asked for: ask when a run begins, as files may change while it goes on.
    """
    if not (checkout / ".git").exists():  # a folder, or a file in a worktree; installed code may lie in another's tree
        return None
    head = _git(checkout, "rev-parse", "HEAD")
    if head is None or head.returncode != 0:
        return None
    changed = _git(checkout, "diff", "--quiet", "HEAD", "--", "*.py")
    return head.stdout.strip()[:12] + ("" if changed is not None and changed.returncode == 0 else "-dirty")


def _git(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    command = ["git", "-C", str(checkout), *arguments]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_GIT_S, check=False)
    except (OSError, subprocess.SubprocessError):  # no git, or one that hangs
        return None


def device_name(device: torch.device) -> str:
    """Model of the GPU or processor, e.g. "NVIDIA H200"."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return _processor() if device.type == "cpu" else device.type


def platform_name() -> str:
    """Operating system and instruction set, e.g. "Linux x86_64"."""
    return f"{platform.system()} {platform.machine()}"


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()
