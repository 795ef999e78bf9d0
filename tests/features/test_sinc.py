import pytest
import torch

from dyn_lightning.features import SincFilterBank


def test_filters_together_are_a_unit_impulse() -> None:
    """Adjacent bands from 0 to Nyquist's frequency add up to everything, window or not."""
    bank = SincFilterBank()
    impulse = torch.zeros(129)
    impulse[64] = 1.0
    torch.testing.assert_close(bank.filters.sum(0)[0], impulse, rtol=0, atol=1e-5)
    audio = torch.randn(2, 1000)
    torch.testing.assert_close(bank(audio).sum(1), audio[:, 64:-64], rtol=0, atol=1e-4)


def test_tones_pass_their_own_filter_alone() -> None:
    bank = SincFilterBank(20, 257)
    time_s = torch.arange(4000) / 16000
    for i in (8, 12, 19):
        low, high = bank.edges_hz[i : i + 2].tolist()
        rms = bank(torch.sin(2 * torch.pi * (low + high) / 2 * time_s)[None]).square().mean(-1)[0].sqrt() * 2**0.5
        assert rms[i] == pytest.approx(1.0, abs=0.02)
        others = rms[[j for j in range(20) if abs(i - j) > 1]]
        assert others.max() < 0.02


def test_edges_are_equally_far_apart_in_mel() -> None:
    bank = SincFilterBank(70)
    mel = 2595 * torch.log10(1 + bank.edges_hz / 700)
    torch.testing.assert_close(mel.diff(), (mel[-1] / 70).expand(70), rtol=1e-3, atol=0)
    assert bank.edges_hz[0] == 0
    assert bank.edges_hz[-1].item() == pytest.approx(8000, abs=1)


def test_shapes_lengths_and_buffers() -> None:
    bank = SincFilterBank(12, 33)
    assert bank(torch.randn(2, 100)).shape == (2, 12, 68)
    assert not list(bank.parameters())
    assert bank.state_dict().keys() == {"filters"}
    with pytest.raises(ValueError, match="at least 33"):
        bank(torch.randn(1, 32))
    with pytest.raises(ValueError, match="kernel_size"):
        SincFilterBank(12, 32)
