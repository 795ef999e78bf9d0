"""FLAC of unknown length: the last frame says how many samples there are (RFC 9639)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from dyn_lightning.data.headers.patch import Findings, Patch

_LARGEST_FRAME = 1 << 20
_SAMPLES_PER_BYTE = 65535 / 10  # of no frame more: 65,535 samples in the least of headers, and a footer
_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_ID3V1_BYTES = 128


def mend_flac(file: BinaryIO, size: int) -> Findings:
    """Findings of a FLAC file whose STREAMINFO lacks the number of samples, as encoders to a pipe leave it.

    The last frame's own number and size give it, and that frame's check sum says whether the file is whole.
    """
    file.seek(0)
    header = file.read(42)
    if len(header) < 42 or header[4] & 0x7F:
        return Findings()
    fixed_block = int.from_bytes(header[8:10], "big")
    announced = (header[21] & 0x0F) << 32 | int.from_bytes(header[22:26], "big")
    if 0 < announced <= size * _SAMPLES_PER_BYTE:
        return Findings()
    first = max(42, size - _LARGEST_FRAME)
    file.seek(first)
    tail = file.read()
    if tail[-_ID3V1_BYTES:].startswith(b"TAG"):
        tail = tail[:-_ID3V1_BYTES]
    for at, samples in _frames_backwards(tail, fixed_block):
        if _crc16(tail[at:]) == 0:  # of a frame and its own check sum
            return Findings([Patch(21, 26, bytes([header[21] & 0xF0 | samples >> 32]) + _low_32_bits(samples))])
    return Findings(cut="its last frame is not whole")


def _low_32_bits(number: int) -> bytes:
    return (number & 0xFFFFFFFF).to_bytes(4, "big")


def _frames_backwards(tail: bytes, fixed_block: int) -> Iterator[tuple[int, int]]:
    """Places of frame headers, from the last one on, and the number of samples up to the end of that frame."""
    for match in reversed(list(_SYNC.finditer(tail))):
        samples = _samples_up_to(tail[match.start() : match.start() + 16], fixed_block)
        if samples is not None:
            yield match.start(), samples


def _samples_up_to(header: bytes, fixed_block: int) -> int | None:
    """Samples up to the end of the frame of which this is the header; None where it is no header."""
    if len(header) < 6:
        return None
    code, variable = header[2] >> 4, header[1] & 1
    if code == 0 or header[2] & 15 == 15 or header[3] & 1 or header[3] >> 4 > 10:
        return None
    number, length = _coded_number(header[4:])
    if number is None:
        return None
    at = 4 + length
    if code in (6, 7):
        block = int.from_bytes(header[at : at + code - 5], "big") + 1
        at += code - 5
    else:
        block = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8
    at += {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)
    if len(header) <= at or _crc8(header[:at]) != header[at]:
        return None
    return (number if variable else number * fixed_block) + block


def _coded_number(content: bytes) -> tuple[int | None, int]:
    """A number in the extended form of UTF-8, and its length in bytes; None where it is none."""
    first = content[0]
    if first < 0x80:
        return first, 1
    length = 8 - (first ^ 0xFF).bit_length()
    if not 2 <= length <= 7 or len(content) < length:
        return None, length
    number = first & (1 << 7 - length) - 1 if length < 7 else 0
    for byte in content[1:length]:
        if byte >> 6 != 2:
            return None, length
        number = number << 6 | byte & 0x3F
    return number, length


def _table(polynomial: int, bits: int) -> list[int]:
    table, top, mask = [], 1 << bits - 1, (1 << bits) - 1
    for byte in range(256):
        value = byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
        table.append(value)
    return table


_CRC8, _CRC16 = _table(0x07, 8), _table(0x8005, 16)


def _crc8(content: bytes) -> int:
    value = 0
    for byte in content:
        value = _CRC8[value ^ byte]
    return value


def _crc16(content: bytes) -> int:
    value = 0
    for byte in content:
        value = (value << 8 & 0xFF00) ^ _CRC16[value >> 8 ^ byte]
    return value
