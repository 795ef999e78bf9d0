import numpy as np
import pytest
import scipy.signal

from dyn_lightning.data.augment import (
    Augmentation,
    _band_stop,
    _filtered,
    change_speed,
    convolutive_noise,
    impulsive_noise,
    notch_filter,
    stationary_noise,
)

RATE = 16000


def rng(seed=0):
    return np.random.default_rng(seed)


def noise(n=RATE, level=0.1, seed=7):
    return (level * rng(seed).standard_normal(n)).astype(np.float32)


def tone(hz, n=RATE, level=0.5):
    return (level * np.sin(2 * np.pi * hz * np.arange(n) / RATE)).astype(np.float32)


def test_band_stop_is_the_windowed_design():
    ours = _band_stop(101, 0.1, 0.15)
    theirs = scipy.signal.firwin(101, [0.2, 0.3], window="hamming", pass_zero="bandstop", scale=False)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_notch_filters_are_symmetric_with_a_highest_gain_of_1():
    lengths = set()
    for seed in range(50):
        taps = notch_filter(rng(seed), RATE)
        assert len(taps) % 2 == 1
        np.testing.assert_allclose(taps, taps[::-1], atol=1e-12)
        _, response = scipy.signal.freqz(taps, worN=8192)
        assert np.abs(response).max() == pytest.approx(1.0, abs=2e-3)
        lengths.add(len(taps))
    assert min(lengths) >= 5 * 10 + 1  # five filters of at least 11 taps
    assert max(lengths) <= 5 * 100 + 1
    assert len(lengths) > 20


def test_notches_cut_something_out():
    depths_db = []
    for seed in range(50):
        _, response = scipy.signal.freqz(notch_filter(rng(seed), RATE), worN=2048)
        depths_db.append(20 * np.log10(np.abs(response).min() + 1e-9))
    assert np.median(depths_db) < -20


def test_filtering_is_centred_convolution():
    signals, filters = np.stack([noise(700), noise(700, seed=8)]), [notch_filter(rng(i), RATE) for i in range(2)]
    expected = [np.convolve(x, b)[len(b) // 2 :][:700] for x, b in zip(signals, filters, strict=True)]
    np.testing.assert_allclose(_filtered(signals, filters), expected, atol=1e-6)


def test_convolutive_noise_is_the_sum_of_filtered_powers():
    x = noise(3000)
    found = convolutive_noise(x, rng(3), RATE, order=3, gain_db_min=-10.0, gain_db_max=-10.0)
    draws = rng(3)
    filters = [notch_filter(draws, RATE) for _ in range(3)]
    gains = [1.0, 10**-0.5, 10**-0.5]
    parts = [
        g * np.convolve(x.astype(float) ** (j + 1), b)[len(b) // 2 :][: len(x)]
        for j, (g, b) in enumerate(zip(gains, filters, strict=True))
    ]
    expected = sum(parts) - np.mean(sum(parts))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32


def test_a_distorted_tone_has_overtones_a_filtered_one_has_not():
    def overtone_db(order):
        spectrum = np.abs(np.fft.rfft(convolutive_noise(tone(1000.0), rng(5), RATE, order) * np.hanning(RATE)))
        return 20 * np.log10(spectrum[1990:2011].max() / spectrum[990:1011].max())

    assert overtone_db(order=1) < -80
    assert overtone_db(order=5) > -60


def test_convolutive_noise_delays_nothing():
    click = np.zeros(2001, dtype=np.float32)
    click[1000] = 0.5
    for seed in range(10):
        assert np.abs(convolutive_noise(click, rng(seed), RATE, order=1)).argmax() == 1000


def test_impulsive_noise_hits_a_share_in_proportion_to_the_signal():
    x = noise(50000)
    shares = []
    for seed in range(40):
        noisy = impulsive_noise(x, rng(seed))
        hit = noisy != x
        shares.append(hit.mean())
        ratio = noisy[hit] / x[hit] - 1.0
        assert np.abs(ratio).max(initial=0.0) <= 2.0 + 1e-5
        # Product of two uniform numbers: mean 0, variance 1/9.
        if hit.sum() > 1000:
            assert abs(ratio.mean()) < 0.15
            assert ratio.std() == pytest.approx(2 / 3, abs=0.08)
    assert max(shares) <= 0.1
    assert np.mean(shares) == pytest.approx(0.05, abs=0.015)
    assert np.std(shares) > 0.02


@pytest.mark.parametrize("snr_db", [10.0, 25.0, 40.0])
def test_stationary_noise_has_the_ratio_asked_for(snr_db):
    x = noise(20000, level=0.05)
    added = stationary_noise(x, rng(1), RATE, snr_db, snr_db).astype(float) - x
    assert 10 * np.log10((x.astype(float) ** 2).sum() / (added**2).sum()) == pytest.approx(snr_db, abs=0.01)


def test_stationary_noise_does_not_follow_the_signal():
    x = noise(20000)
    x[:10000] *= 0.01
    added = stationary_noise(x, rng(1), RATE) - x
    assert added[:10000].std() == pytest.approx(added[10000:].std(), rel=0.05)


ALL = [
    lambda x, r: convolutive_noise(x, r, RATE),
    impulsive_noise,
    lambda x, r: stationary_noise(x, r, RATE),
    lambda x, r: Augmentation(RATE, (0.9, 1.1), ("convolutive", "impulsive", "stationary")).after_crop(x, r),
]


@pytest.mark.parametrize("augment", ALL)
def test_pure_repeatable_limited_and_finite(augment):
    loud = np.sign(noise(3000)).astype(np.float32)
    for x in (loud, np.zeros(3000, dtype=np.float32), noise(1)):
        before = x.copy()
        noisy = augment(x, rng(2))
        assert noisy.shape == x.shape
        assert noisy.dtype == np.float32
        assert np.isfinite(noisy).all()
        assert np.abs(noisy).max() <= 1.0
        np.testing.assert_array_equal(x, before)
        np.testing.assert_array_equal(noisy, augment(x, rng(2)))
    assert not np.array_equal(augment(loud, rng(2)), augment(loud, rng(3)))


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_changes_length_and_pitch(factor):
    faster = change_speed(tone(1000.0), factor, RATE)
    assert len(faster) == pytest.approx(RATE / factor, abs=1)
    spectrum = np.abs(np.fft.rfft(faster * np.hanning(len(faster)), RATE))
    assert spectrum.argmax() == pytest.approx(1000 * factor, abs=2)
    assert np.abs(faster[1000:-1000]).max() == pytest.approx(0.5, abs=0.01)


def test_speed_factors_are_drawn_alike():
    augmentation = Augmentation(RATE, speed_factors=(0.9, 1.0, 1.1))
    lengths = [len(augmentation.before_crop(tone(100.0, 990), rng(seed))) for seed in range(600)]
    values, counts = np.unique(lengths, return_counts=True)
    assert values.tolist() == [900, 990, 1100]
    assert counts.min() > 150
    untouched = tone(100.0)
    assert Augmentation(RATE).before_crop(untouched, rng()) is untouched
    assert Augmentation(RATE).after_crop(untouched, rng()) is untouched


def test_kinds_are_applied_in_the_order_given():
    x = noise(2000)
    draws = rng(4)
    expected = impulsive_noise(stationary_noise(x, draws, RATE), draws)
    found = Augmentation(RATE, rawboost=("stationary", "impulsive")).after_crop(x, rng(4))
    np.testing.assert_array_equal(found, expected)


def test_bad_options():
    with pytest.raises(ValueError, match=r"speed_factors=\[1\.0, 0\.1\]: 0\.1 is not within"):
        Augmentation(RATE, speed_factors=[1.0, 0.1])
    with pytest.raises(ValueError, match=r"'pink' is unknown\. Use any of convolutive"):
        Augmentation(RATE, rawboost=["pink"])
