import pytest
import torch

from dyn_lightning.features import MelFilterBank
from dyn_lightning.models.filter_bank import FilterBankNet


def test_shapes_and_parameters() -> None:
    spectrum = torch.rand(5, 257)
    padded, read_out = FilterBankNet(readout=False), FilterBankNet(readout=True)
    assert padded(spectrum).shape == (5, 64)
    assert read_out(spectrum).shape == (5, 32)
    assert sum(p.numel() for p in padded.parameters()) == 257 * 64
    assert sum(p.numel() for p in read_out.parameters()) == 257 * 64 + 64 * 32


def test_can_be_the_filter_bank_itself() -> None:
    bank = MelFilterBank(n_freqs=257, n_mels=32)
    net = FilterBankNet(readout=True)
    with torch.no_grad():
        net.bands.weight.zero_()
        net.bands.weight[:32] = bank.fb.T
        assert net.readout is not None
        net.readout.weight.copy_(torch.eye(32, 64))
    spectrum = torch.rand(5, 257)
    torch.testing.assert_close(net(spectrum), bank(spectrum[..., None])[..., 0])


def test_fewer_bands_than_targets() -> None:
    with pytest.raises(ValueError, match="n_bands"):
        FilterBankNet(n_bands=16)
