"""Files whose headers state another length than there is, as programs that write to a pipe leave them."""

import struct

import numpy as np
import pytest
import soundfile

from dyn_lightning.data.audio import AudioError, AudioWarning, read_audio
from dyn_lightning.data.headers import mended
from dyn_lightning.inference.streaming import read_blocks

RATE, COUNT = 16000, 9001


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.round(8000 * rng.uniform(-1, 1, COUNT)).astype(np.int16)


def written(path, samples, **options) -> bytearray:
    soundfile.write(path, samples, RATE, **options)
    return bytearray(path.read_bytes())


def wav(pcm: bytes, riff: int, data: int, *, order: str = "<", behind: bytes = b"") -> bytes:
    magic = b"RIFF" if order == "<" else b"RIFX"
    fmt = struct.pack(order + "HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    head = magic + struct.pack(order + "I", riff) + b"WAVEfmt " + struct.pack(order + "I", 16) + fmt
    return head + b"data" + struct.pack(order + "I", data) + pcm + behind


def check(path, samples) -> None:
    """Both ways of reading give all samples."""
    expected = samples.astype(np.float32) / 2**15
    np.testing.assert_array_equal(read_audio(path, RATE), expected)
    np.testing.assert_array_equal(np.concatenate(list(read_blocks(path, RATE, 0.05))), expected)
    np.testing.assert_array_equal(read_audio(path, RATE, 5000, 300), expected[5000:5300])


FULL = 2 * COUNT
SIZES = {
    "right": (36 + FULL, FULL),
    "sox": (0x7FFFF024, 0x7FFFF000),
    "ffmpeg": (0xFFFFFFFF, 0xFFFFFFFF),
    "ffmpeg, less the header": (0xFFFFFFFF, 0xFFFFFFFF - 36),
    "GStreamer": (0x7FFFFFFF, 0x7FFFFFFF - 36),
    "both the largest": (0x7FFFFFFF, 0x7FFFFFFF),
    "arecord": (0x80000024, 0x80000000),
    "killed before the header": (36, 0),
    "no sizes at all": (0, 0),
    "RIFF alone is none": (0, FULL),
    "RIFF 8 too large": (44 + FULL, FULL),
    "RIFF of the whole file": (44 + FULL + 36, FULL),
    "data 8 too large": (44 + FULL, FULL + 8),
    "data of the whole file": (36 + FULL, FULL + 44),
}


@pytest.mark.parametrize("name", SIZES)
def test_wav_with_sizes_that_are_wrong_is_read_to_its_end(tmp_path, samples, name):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(samples.tobytes(), *SIZES[name]))
    check(path, samples)


def test_wav_of_the_other_byte_order(tmp_path, samples):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(samples.astype(">i2").tobytes(), 0, 0, order=">"))
    check(path, samples)


@pytest.mark.parametrize(
    "behind",
    [
        b"LIST" + struct.pack("<I", 4) + b"INFO",
        b"LIST" + struct.pack("<I", 5) + b"INFOx\0" + b"id3 " + struct.pack("<I", 2) + b"xy",
        b"TAG" + bytes(125),
        bytes(3000),
        b"",
    ],
)
def test_what_follows_the_audio_is_no_audio(tmp_path, samples, behind):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(samples.tobytes(), 36 + FULL + len(behind), FULL, behind=behind))
    check(path, samples)
    path.write_bytes(wav(b"", 36 + len(behind), 0, behind=behind if behind[:4] == b"LIST" else b""))
    with pytest.raises(AudioError, match="holds no samples"):
        read_audio(path, RATE)


def test_a_header_from_before_the_end_of_the_recording_is_told(tmp_path, samples):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(samples.tobytes(), 36 + 1000, 1000))
    with pytest.warns(AudioWarning, match=r"a\.wav: its header announces 1000 bytes of audio, and 18002 are there"):
        check(path, samples)


CONTAINERS = {
    "wav": {},
    "w64": {},
    "rf64": {"format": "RF64"},
    "au": {},
    "aiff": {},
    "caf": {},
    "flac": {},
    "mp3": {"bitrate_mode": "VARIABLE", "compression_level": 0.2},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
}


@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize("kept", [0.3, 0.97])
def test_a_file_that_is_cut_is_never_read(tmp_path, samples, suffix, kept):
    path = tmp_path / f"a.{'wav' if suffix == 'rf64' else suffix}"
    content = written(path, samples, **CONTAINERS[suffix])
    assert mended(path).cut is None
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(AudioError, match=r"is truncated|cannot be decoded"):
        read_audio(path, RATE)
    with pytest.raises(AudioError, match=r"is truncated|cannot be decoded"):
        list(read_blocks(path, RATE, 0.05))


def place(content: bytearray, at: int, value: int, n_bytes: int, order: str) -> bytearray:
    content[at : at + n_bytes] = (value % 2 ** (8 * n_bytes)).to_bytes(n_bytes, order)
    return content


@pytest.mark.parametrize("value", [0, -1, 0x7FFFF000, 0x7F000000])
def test_other_containers_of_unknown_length(tmp_path, samples, value):
    path = tmp_path / "a.au"
    path.write_bytes(place(written(path, samples), 8, value, 4, "big"))
    check(path, samples)
    path = tmp_path / "a.aiff"
    content = written(path, samples)
    place(content, content.index(b"COMM") + 10, value, 4, "big")
    path.write_bytes(place(content, content.index(b"SSND") + 4, value, 4, "big"))
    check(path, samples)


@pytest.mark.parametrize("value", [0, -1, 2**63 - 1])
def test_containers_of_64_bit_sizes_of_unknown_length(tmp_path, samples, value):
    path = tmp_path / "a.caf"
    content = written(path, samples)
    path.write_bytes(place(content, content.index(b"data") + 4, value, 8, "big"))
    check(path, samples)
    path = tmp_path / "a.w64"
    content = written(path, samples)
    path.write_bytes(place(content, content.index(b"data") + 16, value, 8, "little"))
    check(path, samples)
    path = tmp_path / "a.wav"
    content = written(path, samples, format="RF64")
    place(content, content.index(b"data") + 4, -1, 4, "little")
    path.write_bytes(place(content, content.index(b"ds64") + 16, value, 8, "little"))
    check(path, samples)
