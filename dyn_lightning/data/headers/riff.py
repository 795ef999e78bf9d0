"""WAV (RIFF, RIFX, RF64, BW64) and Sony Wave64: the size of the chunk that holds the audio.

Sources: RIFF as Microsoft's "Multimedia Programming Interface" has it; RF64 in EBU Tech 3306; the Wave64
specification by Sonic Foundry.
"""

from __future__ import annotations

from typing import BinaryIO, Literal

from dyn_lightning.data.headers.patch import Findings, Patch, data_chunk, is_placeholder, is_placeholder_64, missing

_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")  # of players, behind the last chunk
_LONGEST_CHAIN = 1000


def mend_riff(file: BinaryIO, size: int) -> Findings:
    """Findings of a WAV file, whose size of the chunk ``data`` alone counts: that of RIFF is often wrong."""
    file.seek(0)
    magic = file.read(4)
    order: Literal["big", "little"] = "big" if magic == b"RIFX" else "little"
    position, large = 12, None
    for _ in range(_LONGEST_CHAIN):
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return Findings()
        length = int.from_bytes(header[4:], order)
        start = position + 8
        if header[:4] == b"ds64":
            large = (start + 8, int.from_bytes(file.read(16)[8:], "little"))
        if header[:4] == b"data":
            break
        position = start + length + length % 2
    else:
        return Findings()
    rest = size - start
    if large is not None and length == 0xFFFFFFFF:
        place, length = large
        if is_placeholder_64(length):
            return Findings([Patch(place, place + 8, rest.to_bytes(8, "little"))])
        return Findings(cut=missing(length, start, size))
    if length > rest:
        return Findings() if is_placeholder(length) else Findings(cut=missing(length, start, size))
    if _is_end(file, start + length, size, order):
        return Findings()
    doubt = None
    if length:
        doubt = f"its header announces {length} bytes of audio, and {rest} are there, which are all read"
    return Findings([Patch(position + 4, start, min(rest, 0xFFFFFFFF).to_bytes(4, order))], doubt=doubt)


def _is_end(file: BinaryIO, position: int, size: int, order: Literal["big", "little"]) -> bool:
    """Whether what follows is no audio: nothing, zeros, a tag, or chunks up to the end of the file."""
    file.seek(position)
    first = file.read(16)
    if size - position <= 1 or any(first.lstrip(b"\0").startswith(tag) for tag in _TAGS):
        return True
    if not first.strip(b"\0"):
        return not any(chunk.strip(b"\0") for chunk in iter(lambda: file.read(1 << 20), b""))
    for at in (position + position % 2, position):  # chunks begin at even places, where their writer knew that
        for _ in range(_LONGEST_CHAIN):
            file.seek(at)
            header = file.read(8)
            if not header.strip(b"\0"):
                return True
            name = header[:4]
            if len(header) < 8 or not (name.isascii() and name.decode("ascii").isprintable()):
                break
            length = int.from_bytes(header[4:], order)
            at += 8 + length + length % 2
            if at - size in (0, 1):
                return True
            if at > size:
                break
    return False


def mend_w64(file: BinaryIO, size: int) -> Findings:
    """Findings of a Wave64 file: sizes have 64 bits and count their own header of 24 bytes."""
    found = data_chunk(file, size, 40, name_bytes=16, order="little", counts_header=True)
    if found is None:
        return Findings()
    position, length = found.position, found.length
    start = position + 24
    if length == 24 and size == start:
        return Findings()
    if length <= 24 or is_placeholder_64(length):
        return Findings([Patch(position + 16, start, (size - position).to_bytes(8, "little"))])
    return Findings(cut=missing(length - 24, start, size))
