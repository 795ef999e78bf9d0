"""Errors whose message is for whoever gave the setting or the file: it names that, and the mend."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


class UserError(ValueError):
    """Something that was given cannot be used. The command line prints the message alone, without a traceback."""


class SettingError(UserError):
    """A setting is impossible, by itself or for this network or run."""


class FileError(UserError, OSError):
    """A file or folder cannot be read or written."""


class ArtifactError(UserError):
    """An artifact cannot be written or read; the message names the file and the mend."""


# By name, as the commands without Lightning do not import it: a setting of the trainer that cannot be.
_OF_LIGHTNING = "MisconfigurationException"
_REFUSALS = {
    errno.ENOSPC: "the disk is full. Free some space, and run the command again",
    errno.EDQUOT: "your quota of the disk is used up. Free some space, and run the command again",
    errno.EFBIG: "would be larger than is allowed here. Raise the limit (ulimit -f), or choose another disk",
    errno.EROFS: "the file system can only be read. Choose another place",
    errno.EACCES: "permission denied. Change the file's or its folder's rights, or choose another place",
    errno.EPERM: "not permitted. Change the file's or its folder's rights, or choose another place",
    errno.ENOENT: "no such file or folder. Check the path",
    errno.ENOTDIR: "a part of the path is a file, not a folder. Choose another place",
    errno.EEXIST: "a file of this name stands in the way. Choose another place",
    errno.EISDIR: "is a folder. Give a file",
    errno.ENAMETOOLONG: "the name is too long. Choose a shorter one",
    errno.EIO: "the disk failed. Check it, and run the command again",
}


def file_error(error: OSError, path: str | os.PathLike[str] | None = None) -> FileError:
    """What the system refused, in one line.

    Args:
        error: of the system.
        path: the file as the user knows it; None: as the error names it.
    """
    named = error.filename if path is None else os.fspath(path)
    refusal = _REFUSALS.get(error.errno or 0, f"{error.strerror or error}. Check the file and its disk")
    return FileError(refusal if named is None else f"{_printable(named)}: {refusal}")


def _printable(name: str | bytes | int) -> str:
    """A name whose bytes may be no UTF-8."""
    text = os.fsdecode(name) if isinstance(name, (str, bytes)) else str(name)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


FAILURES = (RuntimeError, ValueError, IndexError, AssertionError, TypeError, AttributeError, KeyError)
"""What a network's code raises where a size is not what it takes it for."""


def first_line(error: BaseException, most: int = 100) -> str:
    """The first line of an error's message, or its class where it has none, as an assertion mostly has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:most] if lines else type(error).__name__


def in_one_line(command: Callable[[], T]) -> T:
    """What a command gives.

    Raises:
        SystemExit: with the message of a UserError, or of a file that the system refuses, by itself or as the cause of
            another error, for a traceback.
    """
    try:
        return command()
    except Exception as error:
        causes = [error, *_causes(error)]
        for cause in causes:
            if isinstance(cause, UserError):
                raise SystemExit(str(cause)) from error
        for cause in causes:
            if type(cause).__name__ == _OF_LIGHTNING or _raised_by_lightning(cause):
                raise SystemExit(" ".join(str(cause).split())) from error
        for cause in causes:
            if isinstance(cause, OSError) and (cause.filename is not None or cause.errno in _REFUSALS):
                raise SystemExit(str(file_error(cause))) from error
        raise


def _raised_by_lightning(error: BaseException) -> bool:
    """Whether Lightning itself refuses a value: its trainer checks many settings only when a fit begins."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    module = "" if place is None else str(place.tb_frame.f_globals.get("__name__", ""))
    return isinstance(error, ValueError) and module.startswith(("lightning.pytorch.", "lightning.fabric."))


def _causes(error: BaseException) -> Iterator[BaseException]:
    while error.__cause__ is not None:
        error = error.__cause__
        yield error
