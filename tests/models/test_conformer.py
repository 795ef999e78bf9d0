import pytest
import torch
from torch import nn

from dyn_lightning.models.conformer import Conformer, ConvolutionModule, SelfAttention


@pytest.mark.parametrize(("d", "h", "k", "layers"), [(16, 64, 7, 2), (24, 40, 31, 1)])
def test_parameters(d: int, h: int, k: int, layers: int) -> None:
    network = Conformer(d, layers, num_heads=4, d_hidden=h, kernel_size=k, n_mels=20)
    feed_forward = 2 * d + (d * h + h) + (h * d + d)
    attention = 2 * d + 4 * (d * d + d)
    convolution = 2 * d + (2 * d * d + 2 * d) + (d * k + d) + 2 * d + (d * d + d)
    expected = layers * (2 * feed_forward + attention + convolution + 2 * d) + (20 * d + d) + (d + 1)
    assert sum(p.numel() for p in network.parameters()) == expected


def test_audio_gives_a_logit_per_frame() -> None:
    network = Conformer(16, 1, n_mels=20).eval()
    assert network(torch.randn(2, 16000)).shape == (2, 1 + (16000 - 1024) // 256)


def test_features_are_what_the_front_end_makes() -> None:
    network = Conformer(16, 1, n_mels=20).eval()
    of_features = Conformer(16, 1, n_mels=20, audio=False).eval()
    of_features.load_state_dict(network.state_dict(), strict=False)
    audio = torch.randn(2, 8000)
    torch.testing.assert_close(of_features(network.front_end(audio)), network(audio))


def test_attention_is_that_of_torch() -> None:
    ours, theirs = SelfAttention(12, 3).eval(), nn.MultiheadAttention(12, 3, batch_first=True).eval()
    with torch.no_grad():
        projections = (ours.query, ours.key, ours.value)
        theirs.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        theirs.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
        theirs.out_proj.load_state_dict(ours.output.state_dict())
    x = torch.randn(2, 9, 12)
    normed = ours.norm(x)
    torch.testing.assert_close(ours(x), theirs(normed, normed, normed)[0])


def test_the_convolution_keeps_frames_in_place() -> None:
    module = ConvolutionModule(4, 5).eval()
    x = torch.randn(1, 20, 4)
    changed = x.clone()
    changed[:, 10] = torch.tensor([3.0, -1.0, 2.0, 0.5])
    moved = (module(changed) - module(x)).abs().sum(2)[0] > 0
    assert moved.nonzero().flatten().tolist() == [8, 9, 10, 11, 12]


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="num_heads=4"):
        Conformer(18, 1, num_heads=4)
    with pytest.raises(ValueError, match="kernel_size=30"):
        Conformer(16, 1, kernel_size=30)
