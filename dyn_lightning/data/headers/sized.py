"""AU, AIFF, CAF and NIST SPHERE: one size, or number of samples, in the header.

Sources: Sun's audio(7) manual; Apple's "Audio Interchange File Format AIFF-C" and "Core Audio Format Specification";
NIST's SPHERE 2.6 manual.
"""

from __future__ import annotations

import re
from typing import BinaryIO, Literal

from dyn_lightning.data.headers.patch import Findings, Patch, data_chunk, is_placeholder, is_placeholder_64, missing

_LONGEST_CHAIN = 1000
_UNCOMPRESSED = (b"NONE", b"sowt", b"twos", b"fl32", b"FL32", b"fl64", b"FL64", b"in24", b"in32", b"23ni")


def mend_au(file: BinaryIO, size: int) -> Findings:
    """Findings of an AU file: 0xFFFFFFFF stands for unknown, and other placeholders are about."""
    file.seek(0)
    order: Literal["big", "little"] = "big" if file.read(4) == b".snd" else "little"
    start, length = (int.from_bytes(file.read(4), order) for _ in range(2))
    if not 24 <= start <= size:
        return Findings()
    rest = size - start
    if is_placeholder(length):
        return Findings([Patch(8, 12, min(rest, 0xFFFFFFFF).to_bytes(4, order))] if rest else ())
    return Findings(cut=missing(length, start, size))


def mend_aiff(file: BinaryIO, size: int) -> Findings:
    """Findings of an AIFF or AIFF-C file: the chunk SSND, and the number of frames in COMM."""
    position, frames_at, frame_bytes = 12, 0, 0
    for _ in range(_LONGEST_CHAIN):
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return Findings()
        length = int.from_bytes(header[4:], "big")
        if header[:4] == b"COMM":
            common = file.read(22)
            frames_at = position + 10
            if len(common) < 22 or common[18:] in _UNCOMPRESSED or length < 22:
                bits = int.from_bytes(common[6:8], "big")
                frame_bytes = int.from_bytes(common[:2], "big") * -(-bits // 8)
        if header[:4] == b"SSND":
            break
        position += 8 + length + length % 2
    else:
        return Findings()
    start = position + 16  # behind an offset and a block size
    if not is_placeholder(length):
        return Findings(cut=missing(length - 8, start, size))
    rest = size - start
    if rest <= 0:
        return Findings()
    patches = [Patch(position + 4, position + 8, (rest + 8).to_bytes(4, "big"))]
    if frame_bytes and frames_at:
        patches.insert(0, Patch(frames_at, frames_at + 4, (rest // frame_bytes).to_bytes(4, "big")))
    return Findings(patches)


def mend_caf(file: BinaryIO, size: int) -> Findings:
    """Findings of a CAF file: -1 stands for a last chunk of unknown size."""
    found = data_chunk(file, size, 8, name_bytes=4, order="big", counts_header=False)
    if found is None:
        return Findings()
    position, length = found.position, found.length
    start = position + 12
    if is_placeholder_64(length):
        return Findings([Patch(position + 4, start, (size - start).to_bytes(8, "big"))])
    return Findings(cut=missing(length, start, size))


def mend_sphere(file: BinaryIO, size: int) -> Findings:
    """Findings of a SPHERE file: the header is text."""
    file.seek(0)
    text = file.read(1024).decode("latin-1")
    lines = text.split("\n")
    start = int(lines[1]) if len(lines) > 1 and lines[1].strip().isdigit() else 1024
    values = dict(re.findall(r"^(\w+) -i (\d+)", text, flags=re.MULTILINE))
    if not {"sample_count", "sample_n_bytes"} <= values.keys() or "shorten" in text:
        return Findings()
    frame_bytes = int(values["sample_n_bytes"]) * int(values.get("channel_count", 1))
    return Findings(cut=missing(int(values["sample_count"]) * frame_bytes, start, size))
