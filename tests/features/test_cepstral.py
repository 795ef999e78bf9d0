import math

import pytest
import torch
import torchaudio
from scipy.fft import dct as scipy_dct

from dyn_lightning.features import CosineTransform, Deltas, LinearFilterBank, Spectrogram


def test_lfcc_equals_torchaudio() -> None:
    audio = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    reference = torchaudio.transforms.LFCC(
        16000, n_filter=30, n_lfcc=20, log_lf=True, speckwargs={"n_fft": 512, "hop_length": 128, "center": False}
    )(audio)
    filters = LinearFilterBank(257, 30)(Spectrogram(512, 128)(audio))
    torch.testing.assert_close(CosineTransform(30, 20)(torch.log(filters + 1e-6)), reference, rtol=1e-4, atol=1e-4)


def test_filters_are_triangles_equally_far_apart() -> None:
    bank = LinearFilterBank(n_freqs=101, n_filters=9, sample_rate=16000)  # bins of 80 Hz, edges each 800 Hz
    frequencies_hz = torch.linspace(0, 8000, 101)
    for i in range(9):
        expected = (1 - (frequencies_hz - 800 * (i + 1)).abs() / 800).clamp_min(0)
        torch.testing.assert_close(bank.fb[:, i], expected, rtol=0, atol=1e-4)
    assert not list(bank.parameters())


def test_filters_refuse_empty_filters_and_ranges() -> None:
    with pytest.raises(ValueError, match="bands hold none"):
        LinearFilterBank(n_freqs=33, n_filters=64)
    with pytest.raises(ValueError, match="f_max"):
        LinearFilterBank(f_max=9000.0)


def test_cosine_transform_equals_scipy() -> None:
    bands = torch.randn(3, 20, 7, dtype=torch.float64)
    expected = scipy_dct(bands.numpy(), type=2, norm="ortho", axis=1)[:, :12]
    transform = CosineTransform(20, 12).double()
    torch.testing.assert_close(transform(bands), torch.from_numpy(expected), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="n_coefficients"):
        CosineTransform(20, 21)


@pytest.mark.parametrize("win_length", [3, 5, 9])
def test_deltas_equal_torchaudio(win_length: int) -> None:
    x = torch.randn(2, 6, 31)
    first = torchaudio.functional.compute_deltas(x, win_length)
    expected = torch.cat((x, first, torchaudio.functional.compute_deltas(first, win_length)), dim=1)
    torch.testing.assert_close(Deltas(win_length)(x), expected)


def test_deltas_of_a_line_are_its_slope() -> None:
    x = (0.25 * torch.arange(20.0) + 3.0).expand(1, 2, 20)
    _, first, second = Deltas(5)(x).chunk(3, dim=1)
    torch.testing.assert_close(first[..., 2:-2], torch.full((1, 2, 16), 0.25))
    torch.testing.assert_close(second[..., 4:-4], torch.zeros(1, 2, 12))
    assert math.isclose(first[0, 0, 0], (1 * 0.25 + 2 * 0.5) / 10, rel_tol=1e-6)  # two frames repeated before the first


@pytest.mark.parametrize("win_length", [1, 4])
def test_deltas_want_an_odd_window(win_length: int) -> None:
    with pytest.raises(ValueError, match="win_length"):
        Deltas(win_length)
