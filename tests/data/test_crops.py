import numpy as np
import pytest

from dyn_lightning.data.crops import centre_crop, crop, random_crop

RAMP = np.arange(10, dtype=np.float32)


@pytest.mark.parametrize("cut", [lambda x, n: random_crop(x, n, np.random.default_rng(0)), centre_crop])
def test_short_utterances_are_repeated_from_their_beginning(cut):
    assert cut(RAMP, 10).tolist() == list(range(10))
    assert cut(RAMP[:3], 8).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert cut(RAMP[:1], 3).tolist() == [0, 0, 0]
    assert cut(RAMP[:9], 10).tolist() == [*range(9), 0]


def test_centre():
    assert centre_crop(RAMP, 4).tolist() == [3, 4, 5, 6]
    assert centre_crop(RAMP, 5).tolist() == [2, 3, 4, 5, 6]
    assert centre_crop(RAMP, 9).tolist() == list(range(9))


def test_random_starts_are_uniform_over_all_that_fit():
    rng = np.random.default_rng(0)
    starts = np.array([random_crop(RAMP, 7, rng)[0] for _ in range(4000)])
    np.testing.assert_allclose(np.bincount(starts.astype(int), minlength=4) / 4000, 0.25, atol=0.03)
    piece = random_crop(RAMP, 7, rng)
    np.testing.assert_array_equal(np.diff(piece), 1)


def test_a_crop_is_a_copy():
    source = RAMP.copy()
    crop(source, 4, 2)[:] = -1
    np.testing.assert_array_equal(source, RAMP)
