"""What the studies' command lines share."""

from __future__ import annotations

from collections.abc import Callable

from dyn_lightning.data.audio import DatasetError


def results_file(study: str) -> str:
    """Where a study's runs are written unless told otherwise: not to the committed ones, which we have measured."""
    return f"runs/{study}/results.jsonl"


def as_command(main: Callable[[], int | None]) -> None:
    """Runs a study as a command: data that are absent or damaged end it with one line, not with a traceback.

    Raises:
        SystemExit: with the command's status, or with what is wrong with the data.
    """
    try:
        raise SystemExit(main())
    except DatasetError as error:
        raise SystemExit(str(error)) from error
