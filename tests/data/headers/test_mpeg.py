"""MP3: the number of samples does not hang on a header of its own."""

import numpy as np
import pytest
import soundfile

from dyn_lightning.data.audio import AudioWarning, read_audio
from dyn_lightning.data.headers import mended


def speechlike(rate: int, seconds: float) -> np.ndarray:
    """Noise that comes and goes: frames of a variable bit rate are of very different sizes."""
    time = np.arange(int(rate * seconds)) / rate
    return 0.2 * np.random.default_rng(0).standard_normal(len(time)) * (np.sin(6 * time) > 0.5)


def encoded(path, rate=16000, seconds=4.0, channels=1, mode="VARIABLE") -> bytes:
    samples = np.repeat(speechlike(rate, seconds)[:, None], channels, axis=1)
    soundfile.write(path, samples, rate, format="MP3", bitrate_mode=mode, compression_level=0.2)
    return path.read_bytes()


def without_xing(content: bytes) -> bytes:
    """The same from the second frame on: the first one holds no audio."""
    at = max(content.find(b"Xing"), content.find(b"Info"))
    assert at > 0
    return content[content.index(content[:2], at) :]


@pytest.mark.parametrize("rate", [11025, 16000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
def test_without_a_xing_header_nothing_is_lost(tmp_path, rate, channels):
    path = tmp_path / "a.mp3"
    content = encoded(path, rate, channels=channels)
    whole = read_audio(path, rate)
    path.write_bytes(without_xing(content))
    bare = read_audio(path, rate)
    # An encoder's delay and padding are then not known: up to two frames more, none less.
    assert 0 <= len(bare) - len(whole) <= 2 * 1152
    lag = int(np.argmax([bare[k : k + 8000] @ whole[:8000] for k in range(2 * 1152)]))
    np.testing.assert_allclose(bare[lag + 1152 : lag + 30000], whole[1152:30000], atol=0.02)


def test_joined_files_are_read_to_the_end(tmp_path):
    path = tmp_path / "a.mp3"
    content = encoded(path)
    single = len(read_audio(path, 16000))
    path.write_bytes(content + content)
    assert 2 * single <= len(read_audio(path, 16000)) <= 2 * single + 4 * 1152


def test_tags_are_no_frames(tmp_path):
    path = tmp_path / "a.mp3"
    content = encoded(path)
    whole = read_audio(path, 16000)
    tag = b"ID3\x03\x00\x00" + bytes([0, 0, 8, 0]) + b"\xff\xfb\x90\x64" * 256
    path.write_bytes(tag + content + b"TAG" + bytes(125))
    assert len(read_audio(path, 16000)) == len(whole)
    path.write_bytes(tag + without_xing(content) + b"APETAGEX" + bytes(100))
    assert 0 <= len(read_audio(path, 16000)) - len(whole) <= 2 * 1152


def test_a_cut_one_is_told(tmp_path):
    path = tmp_path / "a.mp3"
    content = encoded(path, mode="CONSTANT")
    path.write_bytes(content[: len(content) // 2])
    assert "frames are missing" in (mended(path).cut or "")
    path.write_bytes(without_xing(content)[:-50])
    with pytest.warns(AudioWarning, match="its last frame is not whole"):
        read_audio(path, 16000)
