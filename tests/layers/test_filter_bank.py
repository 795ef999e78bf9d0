import itertools
import math

import pytest
import torch
from torchaudio.functional import melscale_fbanks

from dyn_lightning.features.spectral import LogCompression as PlainLogCompression
from dyn_lightning.features.spectral import MelFilterBank as PlainMelFilterBank
from dyn_lightning.layers import LogCompression, MelFilterBank
from dyn_lightning.layers.filter_bank import respaced_filters, spread_order
from dyn_lightning.width import Width

BANK = (257, 40, 16000, 60.0, 7600.0)


@pytest.mark.parametrize("spacing", ["respaced", "dropped"])
def test_contract(contract, spacing: str) -> None:
    contract(
        PlainMelFilterBank(*BANK),
        lambda a: {"out_width": a, "spacing": spacing},
        [40],
        lambda a: (torch.rand(2, 257, 7),),
    ).check()


@pytest.mark.parametrize("bands", [1, 2, 13, 39, 40])
def test_respaced_filters_at_integers_are_torchaudios(bands: int) -> None:
    bank = PlainMelFilterBank(*BANK)
    ours = respaced_filters(bank, torch.tensor(float(bands)), bands)
    reference = melscale_fbanks(257, 60.0, 7600.0, bands, 16000)
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
    assert rise[-1] > 0.9


def test_spacing_decides_which_frequencies_stay() -> None:
    centres = {}
    for spacing in ("respaced", "dropped"):
        width = Width(40)
        bank = MelFilterBank(*BANK, out_width=width, spacing=spacing).eval()
        width.freeze(10)
        filters = bank._filters()
        assert filters.shape == (257, 10)
        assert torch.equal(bank.to_plain().fb, filters)
        centres[spacing] = filters[:, -1].argmax().item() * 8000 / 256
    full = PlainMelFilterBank(*BANK).fb
    assert centres["dropped"] == full[:, 9].argmax().item() * 8000 / 256
    assert centres["respaced"] > 5000 > 1500 > centres["dropped"]


def test_consolidated_bank_says_what_it_is() -> None:
    width = Width(40)
    for spacing in ("respaced", "dropped"):
        small = MelFilterBank(*BANK, out_width=width, spacing=spacing)
        width.freeze(12)
        plain = small.to_plain()
        assert type(plain) is PlainMelFilterBank
        assert (plain.n_mels, plain.fb.shape[1]) == (12, 12)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 40, 80, 129])
def test_spread_order(n: int) -> None:
    order = spread_order(n)
    assert sorted(order) == list(range(n))
    assert order[-1] == n - 1
    for k in range(2, n + 1):
        # any first few leave no gap wider than bisection does
        gaps = [b - a for a, b in itertools.pairwise([*sorted(order[:k]), n])]
        assert max(gaps) <= 2 * 2 ** math.ceil(math.log2(n / k)) + 1


def test_thinned_bands_stay_what_they_are_and_span_the_range() -> None:
    width = Width(40, order=spread_order(40))
    bank = MelFilterBank(*BANK, out_width=width).eval()
    full = PlainMelFilterBank(*BANK).fb
    width.freeze(10)
    filters = bank.to_plain().fb
    assert torch.equal(filters, full[:, spread_order(40)[:10]])
    peaks_hz = filters.argmax(0).sort().values * 8000 / 256
    assert peaks_hz[0] < 200
    assert peaks_hz[-1] > 5000


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


def test_unknown_spacing() -> None:
    with pytest.raises(ValueError, match="thinned, respaced, dropped"):
        MelFilterBank(*BANK, out_width=Width(40), spacing="linear")
