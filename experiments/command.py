"""What the studies' command lines share."""

from __future__ import annotations

from collections.abc import Callable

from dyn_lightning.errors import in_one_line


def results_file(study: str) -> str:
    """Where a study's runs are written unless told otherwise: not to the committed ones, which we have measured."""
    return f"runs/{study}/results.jsonl"


def as_command(main: Callable[[], int | None]) -> None:
    """Runs a study as a command: what was given wrong, such as absent data, ends it with one line.

    Raises:
        SystemExit: with the command's status, or with what is wrong.
    """
    raise SystemExit(in_one_line(main))
