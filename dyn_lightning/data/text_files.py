"""Text files as other people's programs write them: with a byte order mark, of any line ends, in UTF-8."""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path

from dyn_lightning.data.audio import DatasetError

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    r"""The lines of a text file, in UTF-8 or, where its mark says so, UTF-16, without ends ("\n", "\r\n" or "\r").

    Raises:
        DatasetError: the file is missing, cannot be read, or is in another encoding; the line is named.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file. Check the path.") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}). Check it and its permissions.") from error
    encoding = "utf-16" if content.startswith(_UTF_16) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f"{path}, line {line}: is not UTF-8 text (byte 0x{content[error.start]:02X}). Save the file as UTF-8."
        ) from error
    lines = re.split(r"\r\n|\n|\r", text)
    return lines[:-1] if lines[-1] == "" else lines
