from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.models.crnn_vad import CRNNVAD

# Prices in the convention of the published counts, which leave the GRU out.
PAPER_PRICES: dict[type, Callable[..., int]] = {
    nn.Conv1d: lambda m, x, y: 2 * m.in_channels * m.kernel_size[0] * y.numel(),
    nn.SELU: lambda m, x, y: 7 * y.numel(),
    nn.Linear: lambda m, x, y: 2 * m.in_features * y.numel(),
    nn.MaxPool1d: lambda m, x, y: y.numel(),
}


def paper_flops(model: nn.Module, audio: Tensor) -> int:
    total = 0

    def add(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        total += PAPER_PRICES[type(module)](module, inputs[0], output)

    for module in model.modules():
        if type(module) in PAPER_PRICES:
            module.register_forward_hook(add)
    model(audio)
    return total


@pytest.mark.parametrize(("bands", "channels"), [(80, 80), (41, 80), (13, 80), (80, 40), (10, 10)])
def test_parameters(bands: int, channels: int) -> None:
    counted = sum(p.numel() for p in CRNNVAD(bands, channels).parameters())
    assert counted == 3 * bands * channels + 769 * channels + 593_153


@pytest.mark.parametrize(
    ("bands", "channels", "published"),
    [(80, 80, 673_873), (74, 74, 666_487), (13, 13, 603_657), (10, 10, 601_143)],
)
def test_published_parameters(bands: int, channels: int, published: int) -> None:
    assert sum(p.numel() for p in CRNNVAD(bands, channels).parameters()) == published


@pytest.mark.parametrize(("bands", "published"), [(80, 2_249_961), (41, 1_182_921), (21, 635_721), (13, 416_841)])
def test_published_flops_of_one_second(bands: int, published: int) -> None:
    assert paper_flops(CRNNVAD(bands), torch.randn(1, 16000)) == published


def test_shapes_and_least_length() -> None:
    model = CRNNVAD(channels=8, hidden_size=4)
    assert model(torch.randn(3, 16000)).shape == (3, 57)
    assert model(torch.randn(1, 1536)).shape == (1, 1)
    with pytest.raises(ValueError, match="at least 1536"):
        model(torch.randn(1, 1535))


def test_utterances_do_not_mix_and_the_future_stays_out() -> None:
    torch.manual_seed(0)
    model = CRNNVAD(channels=8, hidden_size=4).eval()
    audio = 0.1 * torch.randn(2, 16000)
    logits = model(audio)
    torch.testing.assert_close(model(audio[1:]), logits[1:])
    # a click in frame 40's hop reaches no logit whose three frames end before it
    clicked = audio.clone()
    clicked[:, 40 * 256 + 100] += 5.0
    changed = (model(clicked) - logits).abs().amax(0) > 1e-6
    first = int(changed.nonzero()[0])
    assert first + 2 == 40 - 3  # logit i sees frames i, i+1, i+2; frame 37 is the first that holds the click


def test_first_frame_centre() -> None:
    model = CRNNVAD(channels=8, hidden_size=4)
    assert model.first_frame_centre_s == pytest.approx((256 + 512) / 16000)
    assert (model.sample_rate, model.hop_length, model.n_fft) == (16000, 256, 1024)


def test_hangover_holds_the_largest_neighbour() -> None:
    torch.manual_seed(0)
    plain = CRNNVAD(channels=8, hidden_size=4).eval()
    held = CRNNVAD(channels=8, hidden_size=4, hangover_frames=2).eval()
    held.load_state_dict(plain.state_dict())
    audio = torch.randn(1, 16000)
    logits = plain(audio)[0]
    expected = torch.stack([logits[max(i - 2, 0) : i + 3].max() for i in range(57)])
    torch.testing.assert_close(held(audio)[0], expected)


def test_every_parameter_learns() -> None:
    model = CRNNVAD(channels=8, hidden_size=4)
    model(torch.randn(2, 4000)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
