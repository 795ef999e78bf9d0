import numpy as np
import pytest
import soundfile

from dyn_lightning.data.audio import AudioError, DatasetError, find_audio, read_audio

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
    with pytest.raises(AudioError, match=r"cut\.flac: (is truncated|cannot be decoded)"):
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
    with pytest.raises(DatasetError, match=r"no \.flac or \.wav"):
        find_audio(tmp_path)
    b, a = write_audio(tmp_path / "x/b.FLAC", tone()), write_audio(tmp_path / "x/a.wav", tone())
    assert find_audio(tmp_path) == [a, b]
