"""Ogg: whether the last page ends the stream (RFC 3533)."""

from __future__ import annotations

from typing import BinaryIO

from dyn_lightning.data.headers.patch import Findings

_LONGEST_PAGE = 27 + 255 + 255 * 255
_END_OF_STREAM = 4


def mend_ogg(file: BinaryIO, size: int) -> Findings:
    """Findings of an Ogg file: decoders take its length from the last page, so nothing has to be mended."""
    first = max(0, size - 2 * _LONGEST_PAGE)
    file.seek(first)
    tail = file.read(2 * _LONGEST_PAGE)
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27:
        return Findings(cut="its last page is missing")
    table = tail[at + 27 : at + 27 + tail[at + 26]]
    if len(tail) < at + 27 + tail[at + 26] + sum(table):
        return Findings(cut="its last page is not whole")
    if not tail[at + 5] & _END_OF_STREAM:
        return Findings(doubt="has no end-of-stream mark: its end may be missing")
    return Findings()
