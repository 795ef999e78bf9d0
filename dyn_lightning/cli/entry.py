"""Where ``dyn-lightning`` begins: finds the command, and imports only what that one needs."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import IO

from dyn_lightning.errors import SettingError, in_one_line
from dyn_lightning.optional import missing, silence

TRAINING = {
    "fit": "Train, learn the sizes, and write the small network.",
    "validate": "Measure a run's checkpoint on validation data.",
    "test": "Measure a run's checkpoint on test data.",
    "consolidate": "Write the small network of a checkpoint, at any budget.",
    "profile": "Show what each layer costs, and what it sees of the input.",
}
COMMANDS = {
    "shrink": ("dyn_lightning.cli.shrink", "Make a trained network small, without labels."),
    "predict": ("dyn_lightning.cli.predict", "Say what an artifact finds in audio files."),
    "score": ("dyn_lightning.cli.score", "Error rates of a countermeasure's score file."),
    "data-check": ("dyn_lightning.cli.data_check", "See whether an ASVspoof corpus is all there."),
    "sweep": ("dyn_lightning.cli.sweep", "Run a W&B sweep file on this machine, without a server."),
    "pareto": ("dyn_lightning.cli.pareto", "The best trade-offs among finished runs."),
    "report": ("dyn_lightning.cli.report", "One page of finished runs."),
}
"""Those that need no training configuration → the module with the function of that name, and what it does."""


CLOSED = 128 + 13
"""Exit status where nobody reads what is printed any more: that of programs which SIGPIPE ends."""


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of ``dyn-lightning``. Gives the exit status."""
    try:
        try:
            return in_one_line(lambda: _with_missing_named(args))
        finally:
            sys.stdout.flush()  # here, where a reader that has gone (| head) can be told from other pipes
    except BrokenPipeError:
        if not _has_no_reader(sys.stdout):
            raise
        # what is left in the buffer would be written once more as Python ends, with a message
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED


def _has_no_reader(stream: IO[str]) -> bool:
    """Whether a stream is a pipe that was closed at its other end."""
    with suppress(ValueError, OSError):  # no file of the system
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    return False


def _with_missing_named(args: Sequence[str] | None) -> int:
    try:
        return _run(args)
    except ModuleNotFoundError as error:
        raise missing(error) or error from error


def _run(args: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if args is None else args)
    name = given[0] if given else ""
    if name in ("", "-h", "--help"):
        print(usage())
        return 0 if name else 2
    if name in ("-v", "--version"):
        print(import_module("dyn_lightning").__version__)
        return 0
    silence()
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())  # as with python -m: networks and data of one's own are found
    if name in COMMANDS:
        status: int = getattr(import_module(COMMANDS[name][0]), name.replace("-", "_"))(given[1:])
        return status
    if name not in TRAINING:
        raise SettingError(f"{name!r} is no command; there are {', '.join((*TRAINING, *COMMANDS))}")
    import_module("dyn_lightning.cli.training").run(None if args is None else given)
    return 0


def usage() -> str:
    """What ``--help`` prints."""
    told = {**TRAINING, **{name: what for name, (_, what) in COMMANDS.items()}}
    lines = [f"  {name:12} {what}" for name, what in told.items()]
    return "\n".join(
        [
            "usage: dyn-lightning COMMAND …",
            "",
            "Learn layer sizes under a FLOPs budget.",
            "",
            *lines,
            "",
            "dyn-lightning COMMAND --help shows the options of one.",
        ]
    )
