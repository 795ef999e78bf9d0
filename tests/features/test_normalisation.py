import pytest
import torch

from dyn_lightning.features import RunningNorm, UtteranceNorm


def test_utterance_norm_removes_level_and_scale() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4, 50, dtype=torch.float64)
    y = UtteranceNorm()(x)
    torch.testing.assert_close(y.mean(-1), torch.zeros(3, 4, dtype=torch.float64))
    torch.testing.assert_close(y.var(-1, correction=0), torch.ones(3, 4, dtype=torch.float64), rtol=1e-4, atol=0)
    # a gain is a constant in the log domain: it leaves nothing behind, row by row and utterance by utterance
    torch.testing.assert_close(UtteranceNorm()(x * 3 + torch.randn(3, 4, 1)), y, rtol=1e-4, atol=1e-5)


def test_utterance_mean_keeps_the_scale() -> None:
    x = torch.randn(2, 4, 9)
    torch.testing.assert_close(UtteranceNorm(variance=False)(x), x - x.mean(-1, keepdim=True))


def test_constant_rows_stay_finite() -> None:
    assert (UtteranceNorm()(torch.full((1, 2, 5), 7.0)) == 0).all()


def test_first_batches_count_alike() -> None:
    """Until 1/momentum batches were seen, the statistics are those of all frames together."""
    torch.manual_seed(0)
    batches = torch.randn(5, 4, 3, 11) * torch.tensor([0.5, 2.0, 1.0])[:, None] + torch.randn(5, 1, 3, 1)
    norm = RunningNorm(3, momentum=0.1).train()
    for batch in batches:
        norm(batch)
    frames = batches.transpose(0, 2).reshape(3, -1)
    torch.testing.assert_close(norm.running_mean, frames.mean(1))
    torch.testing.assert_close(norm.running_var, frames.var(1, correction=0))
    assert norm.num_batches == 5


def test_later_batches_count_by_the_momentum() -> None:
    norm = RunningNorm(1, momentum=0.5).train()
    for level in (0.0, 0.0, 1.0):
        norm(torch.full((2, 1, 4), level))
    assert norm.running_mean.item() == pytest.approx(0.5)
    assert norm.running_var.item() == pytest.approx(0.25)  # half the weight at 0, half at 1


def test_training_and_evaluation_normalise_alike() -> None:
    norm = RunningNorm(3).train()
    x = torch.randn(2, 3, 8) * 4 + 1
    trained = norm(x)
    before = {k: v.clone() for k, v in norm.state_dict().items()}
    torch.testing.assert_close(norm.eval()(x), trained)
    expected = (x - before["running_mean"][:, None]) / (before["running_var"][:, None] + 1e-5).sqrt()
    torch.testing.assert_close(trained, expected)
    assert all(torch.equal(v, before[k]) for k, v in norm.state_dict().items())  # evaluation moves nothing
    assert not list(norm.parameters())


def test_two_steps_and_their_gradients() -> None:
    """The buffers change in place between the forward passes of one graph."""
    norm = RunningNorm(3).train()
    x = torch.randn(2, 3, 8, requires_grad=True)
    (norm(x).sum() + norm(2 * x).square().sum()).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("momentum", [0.0, 1.5])
def test_momentum_is_a_share(momentum: float) -> None:
    with pytest.raises(ValueError, match="momentum"):
        RunningNorm(3, momentum)
