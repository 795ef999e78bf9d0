import os
import struct

import numpy as np
import pytest
import soundfile

from dyn_lightning.data.audio import AudioError, AudioWarning, DatasetError, find_audio, read_audio
from dyn_lightning.inference.streaming import read_blocks

RATE = 16000


def tone(rate: int = RATE, seconds: float = 0.5, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize("suffix", [".flac", ".wav"])
def test_reads_back_what_was_written(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, tone(), RATE)
    samples = read_audio(path, RATE)
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, tone(), atol=2**-15)


def test_part_is_a_slice_of_the_whole(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(), RATE)
    whole = read_audio(path, RATE)
    np.testing.assert_array_equal(read_audio(path, RATE, 1000, 777), whole[1000:1777])
    np.testing.assert_array_equal(read_audio(path, RATE, 7900, 777), whole[7900:])


def test_stereo_becomes_the_mean_of_the_channels(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([tone(), -0.5 * tone()], axis=1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(path, RATE), 0.25 * tone(), atol=1e-6)


def test_another_rate_is_converted(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(48000), 48000, subtype="FLOAT")
    samples = read_audio(path, RATE)
    assert len(samples) == len(tone())
    np.testing.assert_allclose(samples[200:-200], tone()[200:-200], atol=2e-3)
    np.testing.assert_array_equal(read_audio(path, RATE, 123, 456), samples[123 : 123 + 456])


def test_conversion_removes_what_would_alias(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(48000, hz=12000.0), 48000, subtype="FLOAT")
    assert np.abs(read_audio(path, RATE)[200:-200]).max() < 5e-3


def test_missing_file(tmp_path):
    with pytest.raises(AudioError, match=r"gone\.wav: no such file"):
        read_audio(tmp_path / "gone.wav", RATE)


def test_not_audio(tmp_path):
    path = tmp_path / "text.flac"
    path.write_text("no audio at all")
    with pytest.raises(AudioError, match=r"text\.flac: cannot be decoded"):
        read_audio(path, RATE)


def test_zero_bytes(tmp_path):
    path = tmp_path / "nil.wav"
    path.touch()
    with pytest.raises(AudioError, match=r"nil\.wav: cannot be decoded"):
        read_audio(path, RATE)


def test_no_samples(tmp_path):
    path = tmp_path / "empty.wav"
    soundfile.write(path, np.zeros(0, dtype=np.float32), RATE)
    with pytest.raises(AudioError, match=r"empty\.wav: holds no samples"):
        read_audio(path, RATE)


def test_truncated_flac(tmp_path):
    path = tmp_path / "cut.flac"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, RATE)
    soundfile.write(path, noise, RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"cut\.flac: cannot be decoded \(.*, damaged or truncated\)"):
        read_audio(path, RATE)


def test_truncated_wav(tmp_path):
    path = tmp_path / "cut.wav"
    soundfile.write(path, tone(), RATE)
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(AudioError, match=r"cut\.wav: is truncated"):
        read_audio(path, RATE)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_no_numbers(tmp_path, bad):
    samples = tone()
    samples[100] = bad
    path = tmp_path / "bad.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"bad\.wav: holds NaN or infinite samples"):
        read_audio(path, RATE)


def test_silence_is_read(tmp_path):
    path = tmp_path / "zero.wav"
    soundfile.write(path, np.zeros(100), RATE)
    assert not read_audio(path, RATE).any()


def test_find_audio(tmp_path, write_audio):
    with pytest.raises(DatasetError, match="no such folder"):
        find_audio(tmp_path / "gone")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DatasetError, match=r"no audio file \(\.flac \.wav "):
        find_audio(tmp_path)
    b, a = write_audio(tmp_path / "x/b.FLAC", tone()), write_audio(tmp_path / "x/a.wav", tone())
    assert find_audio(tmp_path) == [a, b]


def test_find_audio_leaves_clutter_alone(tmp_path, write_audio):
    a = write_audio(tmp_path / "x/a.flac", tone())
    for name in ("x/._a.flac", "__MACOSX/x/._a.flac", ".Trash/b.wav", "x/.DS_Store", "x/Thumbs.db", "@eaDir/a.flac"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"\x00\x05\x16\x07" + bytes(100))
    assert find_audio(tmp_path) == [a]
    (tmp_path / "x/empty.wav").touch()
    with pytest.warns(AudioWarning, match=r"1 empty audio files are left out: .*empty\.wav"):
        assert find_audio(tmp_path) == [a]


def header(path, rate: int, channels: int) -> None:
    """A WAV file of 1,000 samples with any rate and number of channels in its header."""
    fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 * channels % 2**32, 2 * channels % 2**16, 16)
    data = bytes(2000 * channels)
    head = struct.pack("<4sI4s4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16)
    path.write_bytes(head + fmt + b"data" + struct.pack("<I", len(data)) + data)


@pytest.mark.parametrize(
    ("rate", "channels", "message"),
    [
        (1, 1, "its header states a sample rate of 1 Hz"),
        (2_000_000_000, 1, "its header states a sample rate of 2000000000 Hz"),
        (16000, 1000, "its header states 1000 channels"),
        (15_999, 1, "15999 Hz and 16000 Hz have too small a common divisor"),
    ],
)
def test_headers_that_no_recording_has_are_refused_at_once(tmp_path, rate, channels, message):
    path = tmp_path / "a.wav"
    header(path, rate, channels)
    for read in (lambda: read_audio(path, RATE), lambda: list(read_blocks(path, RATE, 1.0))):
        with pytest.raises(AudioError, match=rf"a\.wav: {message}"):
            read()


def test_a_name_that_is_no_text(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    (tmp_path / "a.wav").rename(path)
    assert len(read_audio(path, RATE)) == len(tone())
