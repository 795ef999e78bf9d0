import pytest
import torch

from dyn_lightning.features import SpecAugment


def runs_of_zeros(masked: torch.Tensor) -> tuple[int, int]:
    """Length of the masked run, and how many runs there are, of one utterance's flags."""
    edges = torch.diff(torch.nn.functional.pad(masked.int(), (1, 1)))
    return int(masked.sum()), int((edges == 1).sum())


def test_evaluation_changes_nothing() -> None:
    x = torch.randn(2, 10, 30)
    assert torch.equal(SpecAugment(5, 9).eval()(x), x)


def test_masks_are_runs_no_longer_than_asked_for_and_each_utterance_has_its_own() -> None:
    torch.manual_seed(0)
    x = torch.ones(200, 40, 60)
    y = SpecAugment(8, 12).train()(x)
    rows, frames = (y == 0).all(2), (y == 0).all(1)
    assert torch.equal(y == 0, rows[:, :, None] | frames[:, None, :])  # whole rows and whole frames alone
    for masked, most in ((rows, 8), (frames, 12)):
        found = [runs_of_zeros(m) for m in masked]
        assert all(n < most and runs <= 1 for n, runs in found)
        lengths = torch.tensor([float(n) for n, _ in found])
        assert lengths.unique().numel() == most  # every length from 0 to most − 1 comes
        assert lengths.mean() == pytest.approx((most - 1) / 2, abs=0.7)
        assert masked[:, 0].any()
        assert masked[:, -2].any()  # torchaudio's masks end before the last


def test_rows_or_frames_alone_and_several() -> None:
    torch.manual_seed(0)
    x = torch.ones(50, 20, 40)
    only_rows = SpecAugment(6, 0).train()(x)
    assert torch.equal(only_rows.amin(2), only_rows.amax(2))
    assert torch.equal(SpecAugment(0, 0).train()(x), x)
    several = SpecAugment(0, 6, n_masks=3).train()(x)[:, 0] == 0
    assert max(runs_of_zeros(m)[1] for m in several) in (2, 3)


def test_masked_elements_have_no_gradient() -> None:
    x = torch.ones(4, 20, 40, requires_grad=True)
    y = SpecAugment(10, 10).train()(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, (y != 0).float())


def test_negative_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="time_mask=-1"):
        SpecAugment(3, -1)
