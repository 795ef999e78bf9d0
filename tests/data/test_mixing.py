import numpy as np
import pytest
import torch

from dyn_lightning.data import mixing

RATE = 16000


def noise(n: int, seed: int = 0, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


@pytest.mark.parametrize("n", [1024, 1279, 1280, 32000, 16001])
def test_frames_are_those_of_an_unpadded_stft(n):
    window = torch.ones(1024)
    stft = torch.stft(torch.zeros(n), 1024, 256, window=window, center=False, return_complex=True)
    assert mixing.FRAMES.count(n) == stft.shape[1]
    assert len(mixing.frame_levels_dbfs(noise(n))) == stft.shape[1]
    assert mixing.FRAMES.count(1023) == 0


def test_frame_levels_are_rms_in_decibels():
    x = noise(5000)
    frames = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), 1024)[::256]
    expected = 20 * np.log10(np.sqrt((frames**2).mean(axis=1)))
    np.testing.assert_allclose(mixing.frame_levels_dbfs(x), expected, atol=1e-4)
    np.testing.assert_array_equal(mixing.frame_levels_dbfs(np.zeros(2000, np.float32)), -120.0)


def test_speech_frames_follow_bursts():
    clean = np.zeros(RATE, dtype=np.float32)
    clean[4096:8192] = 0.1
    clean[10240:12288] = 0.1 * 10 ** (-25 / 20)
    clean[13312:14336] = 0.1 * 10 ** (-45 / 20)
    active = mixing.speech_frames(clean, reference_dbfs=-20.0, threshold_db=-30.0)
    # A frame that shares a hop (a quarter, -6 dB) with the loud burst is above the threshold.
    begins = np.arange(len(active)) * 256
    loud = (begins + 1024 > 4096) & (begins < 8192)
    soft = (begins + 1024 > 10240 + 256) & (begins < 12288 - 256)  # a quarter of it alone is at -31 dB
    np.testing.assert_array_equal(active, loud | soft)


def test_speech_frames_need_a_least_level():
    whisper = noise(RATE, level=10 ** (-75 / 20))
    reference = mixing.clip_stats(whisper).reference_dbfs
    assert not mixing.speech_frames(whisper, reference, -30.0).any()
    assert mixing.speech_frames(10 * whisper, reference + 20.0, -30.0).all()


def test_covered_samples():
    mask = np.zeros(mixing.FRAMES.count(4000), dtype=bool)
    mask[[2, 4]] = True
    expected = np.zeros(4000, dtype=bool)
    expected[512:1536] = True
    expected[1024:2048] = True
    np.testing.assert_array_equal(mixing.covered_samples(mask, 4000), expected)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 30.0])
def test_noise_gain_gives_the_ratio_over_active_frames(snr_db):
    speech = np.zeros(32000, dtype=np.float32)
    speech[8192:16384] = noise(8192, 1, 0.3)
    active = mixing.speech_frames(speech, -10.0, -30.0)
    hum = noise(32000, 2, 0.01)
    scaled = mixing.noise_gain(speech, hum, active, snr_db) * hum
    first = 8192 - 768  # the first and last active frames share one hop with the burst
    power = (speech[first : 16384 + 768].astype(np.float64) ** 2).mean()
    assert 10 * np.log10(power / (scaled.astype(np.float64) ** 2).mean()) == pytest.approx(snr_db, abs=1e-4)


def test_noise_gain_ignores_pauses_of_speech():
    speech, hum = noise(16384, 1), noise(65536, 2)
    longer = np.concatenate([speech, np.zeros(65536 - 16384, np.float32)])
    active = mixing.speech_frames(longer, -20.0, -30.0)
    whole = mixing.noise_gain(speech, hum[:16384], np.ones(mixing.FRAMES.count(16384), dtype=bool), 10.0)
    assert 20 * np.log10(mixing.noise_gain(longer, hum, active, 10.0) / whole) == pytest.approx(0.0, abs=0.3)


def test_noise_gain_refuses_silence():
    active, none = np.ones(mixing.FRAMES.count(4000), dtype=bool), np.zeros(mixing.FRAMES.count(4000), dtype=bool)
    with pytest.raises(ValueError, match="no active frame"):
        mixing.noise_gain(noise(4000), noise(4000), none, 0.0)
    with pytest.raises(ValueError, match="noise is silent"):
        mixing.noise_gain(noise(4000), np.zeros(4000, np.float32), active, 0.0)


def test_excerpts_hold_a_loud_frame():
    clip = np.zeros(80000, dtype=np.float32)
    clip[40000:42000] = 0.5
    stats = mixing.clip_stats(clip)
    rng = np.random.default_rng(0)
    starts = [mixing.draw_excerpt(stats, 4000, rng) for _ in range(300)]
    for start in starts:
        assert 0 <= start <= 76000
        assert mixing.frame_levels_dbfs(clip[start : start + 4000]).max() > stats.reference_dbfs - 16
    assert max(starts) - min(starts) > 3000
    assert mixing.draw_excerpt(mixing.clip_stats(noise(500)), 4000, rng) == 0


def test_quiet_cut_finds_the_pause():
    speech = noise(16000)
    speech[7936:8448] = 0.0  # hops 31 and 32: the boundary at 8192 is between them
    energies = mixing.hop_energies(speech)
    assert mixing.quiet_cut(energies, 7000) == 8192
    assert mixing.quiet_cut(energies, 9900) == 8192
    assert abs(mixing.quiet_cut(energies, 3000) - 3000) <= 9 * 256


def test_place_with_gaps_keeps_the_speech_in_order():
    speech = np.linspace(1, 2, 16000, dtype=np.float32)
    seen = set()
    for seed in range(30):
        placed = mixing.place_with_gaps(speech, 32000, 3, np.random.default_rng(seed))
        assert placed.shape == (32000,)
        kept = placed[placed != 0]
        assert 16000 - 6 <= len(kept) <= 16000  # the ramps begin at exactly 0
        edges = np.flatnonzero(np.diff(np.concatenate([[0], (placed != 0).astype(int), [0]])))
        inner = np.concatenate([placed[a + 128 : b - 128] for a, b in edges.reshape(-1, 2)])
        assert (np.diff(inner) > 0).all()  # in order, nothing twice
        assert np.isin(inner, speech).all()
        assert len(inner) >= 16000 - 6 * 129  # three pieces at most, two fades each, which begin at 0
        seen.add(len(edges) // 2)
    assert 3 in seen


def test_place_with_gaps_leaves_speech_that_fills_all_alone():
    speech = noise(8000)
    np.testing.assert_array_equal(mixing.place_with_gaps(speech, 8000, 1, np.random.default_rng(0)), speech)


def test_limited_gain():
    x = np.array([0.2, -0.4], dtype=np.float32)
    assert mixing.limited_gain(x, 6.0) == pytest.approx(1.99526, rel=1e-5)
    assert mixing.limited_gain(x, 20.0) == pytest.approx(0.99 / 0.4)
    assert mixing.limited_gain(0 * x, 0.0) == 1.0
