"""Where ``dyn-lightning`` begins: finds the command, and imports only what that one needs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from dyn_lightning.errors import SettingError, in_one_line

TRAINING = ("fit", "validate", "test", "consolidate", "profile")

COMMANDS = {
    "predict": "dyn_lightning.cli.predict",
    "score": "dyn_lightning.cli.score",
    "data-check": "dyn_lightning.data_check",
    "sweep": "dyn_lightning.cli.sweep",
    "pareto": "dyn_lightning.cli.pareto",
    "report": "dyn_lightning.cli.report",
}
"""Those that need no training configuration → the module with the function of that name."""


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of ``dyn-lightning``. Gives the exit status."""
    return in_one_line(lambda: _run(args))


def _run(args: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if args is None else args)
    name = given[0] if given else ""
    if name in COMMANDS:
        status: int = getattr(import_module(COMMANDS[name]), name.replace("-", "_"))(given[1:])
        return status
    if name and not name.startswith("-") and name not in TRAINING:
        raise SettingError(f"{name!r} is no command; there are {', '.join((*TRAINING, *COMMANDS))}")
    import_module("dyn_lightning.cli.training").run(None if args is None else given, COMMANDS)
    return 0
