"""Lines of a network's own code, for reasons that point to the call at fault."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from pathlib import Path
from types import CodeType, TracebackType

import torch

_PACKAGE = Path(__file__).parents[1]
# Networks and features of this package are code as anybody's.
_NETWORKS = tuple(f"{_PACKAGE / name}{os.sep}" for name in ("models", "features"))
_SITE = sysconfig.get_path("purelib")
_NOT_THEIRS = tuple(
    f"{folder}{os.sep}"
    for folder in (_PACKAGE, Path(torch.__file__).parent, sysconfig.get_path("stdlib"), Path(_SITE) / "einops")
)


@functools.cache
def _shown(file: str) -> str | None:
    """How a file of a network's code is shown; None where it is torch's, Python's or this package's machinery."""
    if file.startswith(_NETWORKS):
        return os.path.basename(file)
    if file.startswith(f"{_SITE}{os.sep}"):  # first: it may lie inside the standard library's folder
        return None if file.startswith(_NOT_THEIRS[:2] + _NOT_THEIRS[3:]) else os.path.relpath(file, _SITE)
    return None if file.startswith(("<", *_NOT_THEIRS)) else os.path.basename(file)


def line_now(start: CodeType) -> str:
    """The innermost line of the network's code that is running, as " (net.py:12)"; "" where there is none.

    Args:
        start: of the function that runs the network: frames outside it are not the network's.
    """
    frame = sys._getframe(1)
    while frame is not None and frame.f_code is not start:
        if (shown := _shown(frame.f_code.co_filename)) is not None:
            return f" ({shown}:{frame.f_lineno})"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def line_of_error(error: BaseException, start: CodeType) -> str:
    """The innermost line of the network's code in an error's trace, as in :func:`line_now`."""
    found, inside = "", False
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        inside = inside or code is start
        if inside and (shown := _shown(code.co_filename)) is not None:
            found = f" ({shown}:{trace.tb_lineno})"
        trace = trace.tb_next
    return found
