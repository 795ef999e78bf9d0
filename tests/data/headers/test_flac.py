"""FLAC whose STREAMINFO does not know the number of samples, as encoders to a pipe write it."""

import numpy as np
import pytest
import soundfile

from dyn_lightning.data.audio import AudioError, read_audio
from dyn_lightning.data.headers import mended
from dyn_lightning.inference.streaming import read_blocks

RATE = 16000


def piped(path, samples, total=0, **options) -> bytes:
    soundfile.write(path, samples, RATE, **options)
    content = bytearray(path.read_bytes())
    content[21] = content[21] & 0xF0 | total >> 32
    content[22:26] = (total & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(content)
    return bytes(content)


@pytest.mark.parametrize("count", [1, 700, 4096, 8192, 123_457])
@pytest.mark.parametrize("total", [0, 2**36 - 1])
def test_all_of_it_is_read(tmp_path, count, total):
    path = tmp_path / "a.flac"
    whole = np.random.default_rng(count).integers(-9000, 9000, count).astype(np.int16)
    piped(path, whole, total)
    np.testing.assert_array_equal(read_audio(path, RATE), whole / np.float32(2**15))
    np.testing.assert_array_equal(np.concatenate(list(read_blocks(path, RATE, 0.3))), whole / np.float32(2**15))
    np.testing.assert_array_equal(read_audio(path, RATE, count // 2), whole[count // 2 :] / np.float32(2**15))


@pytest.mark.parametrize("channels", [2, 5])
def test_of_many_channels_and_24_bits(tmp_path, channels):
    path = tmp_path / "a.flac"
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (20_000, channels))
    soundfile.write(path, samples, RATE, subtype="PCM_24")
    expected = read_audio(path, RATE)
    piped(path, samples, subtype="PCM_24")
    np.testing.assert_array_equal(read_audio(path, RATE), expected)


def test_silence_at_other_rates_and_behind_it_a_tag(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(100_000), 37_123)
    content = bytearray(path.read_bytes())
    content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])
    path.write_bytes(content + b"TAG" + bytes(125))
    with soundfile.SoundFile(mended(path).source) as file:
        assert file.frames == 100_000


@pytest.mark.parametrize("lost", [1, 2, 100, 9000])
def test_a_cut_one_is_told(tmp_path, lost):
    path = tmp_path / "a.flac"
    content = piped(path, np.random.default_rng(0).uniform(-0.5, 0.5, 30_000))
    path.write_bytes(content[:-lost])
    with pytest.raises(AudioError, match=r"a\.flac: is truncated, its last frame is not whole"):
        read_audio(path, RATE)
