"""Errors whose message is for whoever gave the setting or the file: it names that, and the mend."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class UserError(ValueError):
    """Something that was given cannot be used. The command line prints the message alone, without a traceback."""


class SettingError(UserError):
    """A setting is impossible, by itself or for this network or run."""


def in_one_line(command: Callable[[], T]) -> T:
    """What a command gives.

    Raises:
        SystemExit: with the message of a UserError, by itself or as the cause of another error, for a traceback.
    """
    try:
        return command()
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise SystemExit(str(cause)) from error
