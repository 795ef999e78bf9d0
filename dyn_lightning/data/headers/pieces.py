"""A file as its header should have been, and which container it is."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from dyn_lightning.data.headers.flac import mend_flac
from dyn_lightning.data.headers.mpeg import mend_mpeg, starts_mpeg
from dyn_lightning.data.headers.ogg import mend_ogg
from dyn_lightning.data.headers.patch import Findings, Patch
from dyn_lightning.data.headers.riff import mend_riff, mend_w64
from dyn_lightning.data.headers.sized import mend_aiff, mend_au, mend_caf, mend_sphere

_MAGICS: dict[bytes, Callable[[BinaryIO, int], Findings]] = {
    b"RIFF": mend_riff,
    b"RIFX": mend_riff,
    b"RF64": mend_riff,
    b"BW64": mend_riff,
    b"riff": mend_w64,
    b".snd": mend_au,
    b"dns.": mend_au,
    b"FORM": mend_aiff,
    b"caff": mend_caf,
    b"NIST": mend_sphere,
    b"fLaC": mend_flac,
    b"OggS": mend_ogg,
}


@dataclass(frozen=True)
class Mended:
    """What to give a decoder, and what is to be said of the file.

    Attributes:
        source: the file's path, or a view of it with a mended header, to be closed.
        cut: why a part of the file is missing; None where nothing shows that.
        doubt: what its user should know, though the file can be used; None for nothing.
    """

    source: Path | Pieces
    cut: str | None = None
    doubt: str | None = None


def mended(path: Path) -> Mended:
    """A file with the length that it has; containers are told by their first bytes, never by the suffix.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        magic = file.read(4)
        mend = _MAGICS.get(magic) or (mend_mpeg if starts_mpeg(magic) else None)
        if mend is None:
            return Mended(path)
        found = mend(file, size)
    if not found.patches:
        return Mended(path, found.cut, found.doubt)
    return Mended(Pieces(path, size, found.patches), found.cut, found.doubt)


@dataclass
class _Span:
    """A part of the view: its first byte there, its length, and the bytes, or where they start in the file."""

    first: int
    length: int
    content: bytes | int = field(default=b"")


class Pieces(io.RawIOBase):
    """A file in which some bytes are replaced by others, of any number; read only, and nothing is copied.

    Args:
        path: the file.
        size: of the file, in bytes.
        patches: what is replaced, in order, without overlap.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path, size: int, patches: Sequence[Patch]) -> None:
        super().__init__()
        self._file = io.FileIO(path)
        self._spans: list[_Span] = []
        self._position = self._size = 0
        done = 0
        for patch in patches:
            self._add(patch.start - done, done)
            self._add(len(patch.content), patch.content)
            done = patch.stop
        self._add(size - done, done)

    def _add(self, length: int, content: bytes | int) -> None:
        if length > 0:
            self._spans.append(_Span(self._size, length, content))
            self._size += length

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer as far as the view goes on; gives the number of bytes."""
        view, done = memoryview(buffer).cast("B"), 0
        for span in self._spans:
            inside = self._position - span.first
            wanted = min(span.length - inside, len(view) - done)
            if inside < 0 or wanted <= 0:
                continue
            got = self._copy(span, inside, view[done : done + wanted])
            done, self._position = done + got, self._position + got
            if got < wanted:
                break
        return done

    def _copy(self, span: _Span, inside: int, view: memoryview) -> int:
        if isinstance(span.content, bytes):
            view[:] = span.content[inside : inside + len(view)]
            return len(view)
        self._file.seek(span.content + inside)
        return self._file.readinto(view) or 0

    def close(self) -> None:
        self._file.close()
        super().close()
