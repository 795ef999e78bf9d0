import math

import pytest
import torch
from torchaudio.functional import melscale_fbanks

from dyn_lightning.features.spectral import LogCompression as PlainLogCompression
from dyn_lightning.features.spectral import MelFilterBank as PlainMelFilterBank
from dyn_lightning.functional import interpolation
from dyn_lightning.layers import LogCompression, MelFilterBank
from dyn_lightning.layers.filter_bank import respaced_filters
from dyn_lightning.width import Width

BANK = (257, 40, 16000, 60.0, 7600.0)


def test_contract(contract) -> None:
    contract(
        PlainMelFilterBank(*BANK),
        lambda a: {"out_width": a},
        [40],
        lambda a: (torch.rand(2, 257, 7),),
    ).check()


def test_contract_resampled(contract) -> None:
    made = contract(
        PlainMelFilterBank(*BANK),
        lambda a: {"out_width": a},
        [40],
        lambda a: (torch.rand(2, 257, 7),),
        resampled=True,
    )
    made.check()


@pytest.mark.parametrize("bands", [1, 2, 13, 39, 40])
def test_respaced_filters_at_integers_are_torchaudios(bands: int) -> None:
    bank = PlainMelFilterBank(*BANK)
    ours = respaced_filters(bank, torch.tensor(float(bands)), bands)
    reference = melscale_fbanks(257, 60.0, 7600.0, bands, 16000) * (bands + 1) / 41
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bands", [5, 12, 33])
def test_respaced_filters_are_continuous_across_an_integer(bands: int) -> None:
    bank = PlainMelFilterBank(*BANK)
    below = respaced_filters(bank, torch.tensor(bands - 1e-4), bands)
    at = respaced_filters(bank, torch.tensor(float(bands)), bands)
    above = respaced_filters(bank, torch.tensor(bands + 1e-4), bands + 1)
    torch.testing.assert_close(below, at, rtol=0, atol=2e-3)
    torch.testing.assert_close(above[:, :bands], at, rtol=0, atol=2e-3)
    # the new band comes in from above f_max: its rising half alone
    bins_hz = torch.linspace(0, 8000, 257)
    assert (above[bins_hz > 7600, bands] == 0).all()
    rise = above[bins_hz <= 7600, bands]
    assert (rise.diff() >= 0).all()
    assert rise[-1] > 0.9 * (bands + 1) / 41


@pytest.mark.parametrize("resampled", [False, True])
def test_resampling_decides_which_frequencies_stay(resampled: bool) -> None:
    width = Width(40, resampled=resampled)
    bank = MelFilterBank(*BANK, out_width=width).eval()
    width.freeze(10)
    filters = bank._filters()
    assert filters.shape == (257, 10)
    plain = bank.to_plain()
    assert type(plain) is PlainMelFilterBank
    assert plain.n_mels == 10
    assert torch.equal(plain.fb, filters)
    highest_hz = filters[:, -1].argmax().item() * 8000 / 256
    if resampled:
        assert highest_hz > 5000
    else:
        assert highest_hz == PlainMelFilterBank(*BANK).fb[:, 9].argmax().item() * 8000 / 256 < 1500


@pytest.mark.parametrize("training", [False, True])
def test_a_resampled_bank_at_full_size_is_the_plain_one(training: bool) -> None:
    bank = MelFilterBank(*BANK, out_width=Width(40, resampled=True)).train(training)
    power = torch.rand(2, 257, 7)
    torch.testing.assert_close(bank(power), PlainMelFilterBank(*BANK)(power), rtol=1e-4, atol=1e-4)
    if not training:
        assert torch.equal(bank._filters(), bank.fb)


@pytest.mark.parametrize("bands", [10.0, 20.0, 20.5, 33.0])
def test_the_level_of_white_noise_does_not_depend_on_the_number_of_bands(bands: float) -> None:
    # so fine a grid of frequencies that the narrowest band is well sampled
    bank = PlainMelFilterBank(8193, 40, 16000, 60.0, 7600.0)
    size = math.ceil(bands)
    level = respaced_filters(bank, torch.tensor(bands), size).sum(0)
    # the outermost points lie beyond the samples, and f_max cuts off the band of a fraction
    inner = slice(math.ceil(41 / (bands + 1)), 40 - 2 * math.ceil(41 / (bands + 1)))
    back = interpolation(40, size, torch.tensor(bands)) @ level
    torch.testing.assert_close(back[inner], bank.fb.sum(0)[inner], rtol=0.03, atol=0.0)


def test_quiet_bank_leaves_the_noise_to_the_logarithm() -> None:
    torch.manual_seed(0)
    width = Width(40)
    bank = MelFilterBank(*BANK)
    bank.bind(out_width=width, quiet=True)
    log = LogCompression()
    log.bind(in_width=width)
    width.set_lam(20.4 / 40)
    power = torch.rand(8, 257, 50)
    mel = bank(power)
    assert mel.shape == (8, 21, 50)
    assert (mel >= 0).all()
    assert torch.equal(mel, bank(power))
    changed = (log(mel) != PlainLogCompression().forward(mel)).any(2).any(0)
    assert changed.tolist() == [False] * 20 + [True]
    log(mel).sum().backward()
    assert width.theta.grad is not None
    assert math.isfinite(width.theta.grad.item())
    assert torch.equal(log.eval()(mel), PlainLogCompression()(mel))
    assert type(log.to_plain()) is PlainLogCompression
