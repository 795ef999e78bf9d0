"""What was found of a header, and values that stand for "unknown" in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal

# Sizes that programs write before they know better, give or take a header: sox 0x7FFFF000 (AIFF 0x7F000000), arecord
# 0x80000000, GStreamer 0x7FFFFFFF, ffmpeg 0xFFFFFFFF.
_PLACEHOLDERS_32_BIT = ((0x7EFFF000, 0x7F001000), (0x7FFFE000, 0x80001000), (0xFFFFE000, 0xFFFFFFFF))
_PLACEHOLDER_64_BIT = 1 << 62
_LONGEST_CHAIN = 1000


@dataclass(frozen=True)
class Patch:
    """Bytes ``start`` to ``stop`` of a file, to be replaced by ``content``."""

    start: int
    stop: int
    content: bytes


@dataclass(frozen=True)
class Findings:
    """Of one header: what to replace, why the file counts as cut, what its user should know."""

    patches: Sequence[Patch] = ()
    cut: str | None = None
    doubt: str | None = None


def is_placeholder(size: int) -> bool:
    """Whether a size of 32 bits stands for "unknown"."""
    return size == 0 or any(low <= size <= high for low, high in _PLACEHOLDERS_32_BIT)


def is_placeholder_64(size: int) -> bool:
    """Whether a size of 64 bits stands for "unknown": 0, -1, or more than any disk holds."""
    return not 0 < size < _PLACEHOLDER_64_BIT or size == 0xFFFFFFFF


def missing(announced: int, start: int, size: int) -> str | None:
    """Why audio of ``announced`` bytes from ``start`` on is cut in a file of ``size`` bytes; None where it is not.

    A size that is too large by no more than the header is a miscount of who wrote it, such as the size of the file.
    """
    lacking = announced - (size - start)
    if lacking <= min(start, 256):
        return None
    return f"{lacking} of {announced} bytes of audio are missing"


@dataclass(frozen=True)
class Chunk:
    """Where a chunk's header begins, and the size that it states."""

    position: int
    length: int


def data_chunk(
    file: BinaryIO, size: int, first: int, *, name_bytes: int, order: Literal["big", "little"], counts_header: bool
) -> Chunk | None:
    """The chunk ``data`` of a container whose sizes have 64 bits; None where the chain of chunks does not lead there.

    Args:
        file: of ``size`` bytes.
        first: where the first chunk begins.
        name_bytes: length of a chunk's name, which begins with four letters.
        order: of a size's bytes.
        counts_header: whether a size counts the chunk's own header; chunks then begin at multiples of 8.
    """
    position, header_bytes = first, name_bytes + 8
    own = header_bytes if counts_header else 0
    for _ in range(_LONGEST_CHAIN):
        file.seek(position)
        header = file.read(header_bytes)
        if len(header) < header_bytes:
            return None
        length = int.from_bytes(header[name_bytes:], order, signed=not counts_header)
        if header[:4] == b"data":
            return Chunk(position, length)
        if not own <= length <= size - position:
            return None
        position += (length + 7) // 8 * 8 if counts_header else header_bytes + length
    return None
