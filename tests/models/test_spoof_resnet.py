import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dyn_lightning import consolidate, dynamize
from dyn_lightning.exports.export import save_program
from dyn_lightning.models.resnet import ResNet34
from dyn_lightning.models.spoof_resnet import SpoofResNet
from dyn_lightning.network.plain import plain_complexity

CONFIGS = Path(__file__).parents[2] / "configs" / "task"
SMALL: dict[str, Any] = {"channels": (8, 16, 32, 64), "blocks": (1, 1, 2, 1), "embedding_size": 24}
FRONT_ENDS = ("log_mel", "lfcc", "log_stft")
NORMALISATIONS = ("fixed", "utterance_mean", "utterance", "running")


def small(front_end: str = "log_mel", **options: Any) -> SpoofResNet:
    torch.manual_seed(0)
    network = SpoofResNet(front_end, n_bands=20, **{**SMALL, **options})  # type: ignore[arg-type]
    network(0.1 * torch.randn(8, 8000))  # batch normalisation sees something
    return network.eval()


@pytest.fixture
def audio() -> torch.Tensor:
    return 0.1 * torch.randn(3, 8000, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("config", "rows", "frames"), [("antispoofing_1s", 80, 122), ("antispoofing_4s", 40, 247)])
def test_published_counts_of_both_readings(config: str, rows: int, frames: int) -> None:
    """5.4 M parameters and 5.64 GFLOPs (arXiv 2601.13704), from the configurations themselves."""
    document = yaml.safe_load((CONFIGS / f"{config}.yaml").read_text())
    options, data = document["model"]["backbone"]["init_args"], document["data"]["init_args"]
    network = SpoofResNet(**options).eval()
    assert sum(p.numel() for p in network.parameters()) == 5_389_666
    assert data["n_samples"] == network.sample_rate * document["model"]["example_duration_s"]
    audio = torch.zeros(1, data["n_samples"])
    assert network.front_end(audio).shape == (1, rows, frames)
    complexity = plain_complexity(network, audio, None)
    assert round(complexity.flops_full_size("paper") / 1e9, 2) == 5.64
    assert not complexity.uncounted


@pytest.mark.parametrize("front_end", FRONT_ENDS)
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_full_counts_the_front_end_and_paper_does_not(front_end: str, normalisation: str) -> None:
    network = SpoofResNet(front_end, n_bands=20, normalisation=normalisation, **SMALL).eval()  # type: ignore[arg-type]
    frames, bins, rows = 59, 257, {"log_mel": 20, "lfcc": 60, "log_stft": 257}[front_end]
    whole = plain_complexity(network, torch.zeros(1, 512 + 58 * 128), None)
    behind = plain_complexity(network.resnet, torch.zeros(1, 1, rows, frames), None)
    stft = frames * (512 + 5 * 512 * 9 + 3 * bins)
    bank = frames * 2 * 20 * bins
    flops = {
        "log_mel": bank + frames * 2 * 20,
        # filters, logarithm, cosine transform, slopes and slopes of slopes: 5 products and their sums each
        "lfcc": bank + frames * (2 * 20 + 2 * 20 * 20 + 2 * 2 * 5 * 20),
        "log_stft": frames * 2 * bins,
    }[front_end]
    flops += {
        "fixed": 2 * rows * frames,
        "utterance_mean": 2 * rows * frames,  # sum, difference
        "utterance": 5 * rows * frames + 2 * rows,  # and square, sum, product; sum and root a row
        "running": 2 * rows * frames + 2 * rows,
    }[normalisation]
    assert whole.flops_full_size("full") - behind.flops_full_size("full") == stft + flops
    assert whole.flops_full_size("paper") == behind.flops_full_size("paper")
    assert not whole.uncounted


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_is_its_parts_one_after_the_other(front_end: str, audio: torch.Tensor) -> None:
    network = small(front_end)
    features = network.normalisation(network.front_end(audio))
    torch.testing.assert_close(network(audio), network.resnet(features[:, None]))
    torch.testing.assert_close(network(audio[1:2]), network(audio)[1:2], rtol=1e-4, atol=1e-5)
    assert network(audio).shape == (3, 2)


def test_least_length() -> None:
    network = small()
    assert network(torch.randn(1, 512)).shape == (1, 2)
    with pytest.raises(ValueError, match="511 samples, at least 512"):
        network(torch.randn(1, 511))


def test_one_channel_setting_scales_all() -> None:
    count: Callable[..., int] = lambda **options: sum(p.numel() for p in SpoofResNet(**options).parameters())  # noqa: E731
    full, quarter = count(), count(channels=(8, 16, 32, 64), embedding_size=64)
    assert quarter < full / 15
    assert count(channels=(8, 16, 32, 64)) == sum(p.numel() for p in ResNet34((8, 16, 32, 64)).parameters())


def test_every_parameter_learns_and_masks_are_for_training(audio: torch.Tensor) -> None:
    network = small(freq_mask=5, time_mask=9, classifier="cosine", num_classes=1)
    torch.testing.assert_close(network(audio), network(audio), rtol=0, atol=0)
    seen: list[torch.Tensor] = []
    network.augmentation.register_forward_hook(lambda module, args, out: seen.append((out == 0).any()))
    network.train()(audio).square().sum().backward()
    assert seen[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("front_end", FRONT_ENDS)
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_dynamic_and_consolidated_compute_the_same(front_end: str, normalisation: str, audio: torch.Tensor) -> None:
    classifier = "linear" if normalisation == "utterance" else "cosine"
    network = small(front_end, normalisation=normalisation, classifier=classifier, freq_mask=4)
    dynamic = dynamize(network, audio).eval()
    assert len(dynamic.widths) == 10  # stem and stack 1, two of each later stack, one of its second block, embedding
    torch.testing.assert_close(dynamic(audio), network(audio))
    for seed in (1, 2):
        generator = torch.Generator().manual_seed(seed)
        for width in dynamic.widths.values():
            width.set_lam(max(width.lam_min, torch.rand((), generator=generator).item()))
        consolidated, report = consolidate(dynamic, [audio])
        torch.testing.assert_close(consolidated(audio), dynamic(audio), rtol=1e-5, atol=1e-5)
        assert sum(p.numel() for p in consolidated.parameters()) == report.parameters < report.parameters_before
        assert report.flops < report.flops_before


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_widths_learn_in_training(front_end: str, audio: torch.Tensor) -> None:
    network = small(front_end, normalisation="running", classifier="cosine", freq_mask=4, time_mask=9)
    dynamic = dynamize(network, audio).train()
    for width in dynamic.widths.values():
        width.set_lam((round(0.6 * width.units) - 0.5) / width.units)
    before = int(dynamic.normalisation.num_batches)
    dynamic(audio).square().sum().backward()
    gradients = [width.theta.grad for width in dynamic.widths.values()]
    assert all(g is not None and math.isfinite(g) for g in gradients)
    assert sum(g != 0 for g in gradients) >= len(gradients) - 2  # a boundary unit may be one that ReLU keeps at zero
    assert dynamic.normalisation.num_batches == before + 1


@pytest.mark.parametrize(
    ("front_end", "normalisation"), [("log_mel", "running"), ("lfcc", "utterance"), ("log_stft", "fixed")]
)
def test_exports(front_end: str, normalisation: str, audio: torch.Tensor, tmp_path: Path) -> None:
    network = small(front_end, normalisation=normalisation, classifier="cosine", freq_mask=4)
    save_program(network, audio, tmp_path / "model.pt2")
    saved = torch.export.load(tmp_path / "model.pt2").module()
    longer = 0.1 * torch.randn(5, 11000)  # another batch and length
    torch.testing.assert_close(saved(longer), network(longer), rtol=1e-5, atol=1e-5)
