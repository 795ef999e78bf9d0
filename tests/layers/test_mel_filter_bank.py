import math

import pytest
import torch
from torch import nn
from torchaudio.functional import melscale_fbanks

from dyn_lightning.features.spectral import LogCompression as PlainLogCompression
from dyn_lightning.features.spectral import MelFilterBank as PlainMelFilterBank
from dyn_lightning.layers import Conv1d, LogCompression, MelFilterBank
from dyn_lightning.layers.mel_filter_bank import respaced_filters
from dyn_lightning.widths import interpolation
from dyn_lightning.widths.width import Width

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
def test_respaced_filters_are_torchaudios(bands: int) -> None:
    bank = PlainMelFilterBank(*BANK)
    ours = respaced_filters(bank, bands)
    reference = melscale_fbanks(257, 60.0, 7600.0, bands, 16000) * (bands + 1) / 41
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-4)


class Behind(nn.Module):
    """Log-mel bands into a convolution, as a dynamic and a plain network have them."""

    def __init__(self, bank: nn.Module, conv: nn.Module) -> None:
        super().__init__()
        self.bank, self.conv = bank, conv

    def forward(self, power: torch.Tensor) -> torch.Tensor:
        return self.conv(self.bank(power).add(1e-6).log())


def test_the_outputs_go_straight_from_one_number_of_bands_to_the_next() -> None:
    """Between whole numbers they are the average of both, so that λ's gradient is the difference of the two."""
    torch.manual_seed(0)
    width = Width(40, resampled=True)
    conv = Conv1d(40, 3, 3, in_width=width)
    searched = Behind(MelFilterBank(*BANK, out_width=width), conv)
    power = torch.rand(2, 257, 7) * torch.linspace(1.0, 1e-4, 257)[:, None]  # next to nothing at the top

    def whole(size: int) -> torch.Tensor:
        width.freeze(size)
        outputs = searched(power)
        width.unfreeze()
        return outputs

    at_20, at_21 = whole(20), whole(21)
    for share in (0.0, 0.3, 0.9):
        width.set_lam((20 + share) / 40)
        torch.testing.assert_close(searched(power), (1 - share) * at_20 + share * at_21, rtol=1e-4, atol=1e-4)
    width.set_lam(20.5 / 40)
    searched(power).sum().backward()
    slope = (at_21 - at_20).sum() * 20.5  # dK/dθ = K
    torch.testing.assert_close(width.theta.grad, slope.detach(), rtol=1e-3, atol=1e-3)


def test_units_of_several_bands_leave_together() -> None:
    width = Width(10, resampled=True, multiple_of=4)
    for units, expected in ((3, [(10, 1.0), (8, 0.0)]), (2.5, [(10, 0.5), (8, 0.5)]), (1.5, [(8, 0.5), (4, 0.5)])):
        width.set_lam(units / 3)
        assert [(size, pytest.approx(share.item(), abs=1e-5)) for size, share in width.neighbours] == expected
        assert width.current == sum(size for size, _ in expected)
    width.set_lam(1 / 3)
    assert [(size, share.item()) for size, share in width.neighbours] == [(4, 1.0)]


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


@pytest.mark.parametrize("phase", ["evaluation", "warm-up", "search"])
def test_a_resampled_bank_at_full_size_is_the_plain_one(phase: str) -> None:
    torch.manual_seed(0)
    width = Width(40, resampled=True)
    plain = Behind(PlainMelFilterBank(*BANK), nn.Conv1d(40, 3, 3))
    conv = Conv1d(40, 3, 3, in_width=width)
    conv.load_state_dict(plain.conv.state_dict())
    network = Behind(MelFilterBank(*BANK, out_width=width), conv).train(phase != "evaluation")
    width.set_learning(phase == "search")
    power = torch.rand(2, 257, 7)
    torch.testing.assert_close(network(power), plain(power), rtol=1e-5, atol=1e-5)
    if phase != "search":
        assert torch.equal(network.bank._filters(), plain.bank.fb)


@pytest.mark.parametrize("bands", [10, 20, 33])
def test_the_level_of_white_noise_does_not_depend_on_the_number_of_bands(bands: int) -> None:
    # so fine a grid of frequencies that the narrowest band is well sampled
    bank = PlainMelFilterBank(8193, 40, 16000, 60.0, 7600.0)
    back = interpolation(40, bands) @ respaced_filters(bank, bands).sum(0)
    inner = slice(math.ceil(41 / (bands + 1)), 40 - math.ceil(41 / (bands + 1)))  # beyond the samples values hold
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
