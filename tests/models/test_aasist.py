from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from dyn_lightning import consolidate, dynamize
from dyn_lightning.models.aasist import AASIST, WaveformBlock
from dyn_lightning.network.plain import plain_complexity

CONFIG = Path(__file__).parents[2] / "configs" / "task" / "antispoofing_aasist_l.yaml"


def small(**options: Any) -> AASIST:
    torch.manual_seed(0)
    sizes = {"channels": (8, 8, 6, 6, 6, 6), "graph_size": 7, "stack_size": 9, "n_filters": 24, "kernel_size": 33}
    network = AASIST(**{**sizes, **options})
    network(0.1 * torch.randn(8, 9000))  # batch normalisation sees something
    return network.eval()


@pytest.fixture
def audio() -> torch.Tensor:
    return 0.1 * torch.randn(3, 9000, generator=torch.Generator().manual_seed(1))


def test_published_parameters() -> None:
    document = yaml.safe_load(CONFIG.read_text())
    network = AASIST(**document["model"]["backbone"]["init_args"])
    assert sum(p.numel() for p in network.parameters()) == 85_306  # AASIST-L, arXiv 2110.01200
    samples = document["data"]["init_args"]["n_samples"]
    assert samples == 64_600 == round(document["model"]["example_duration_s"] * network.sample_rate)


def test_bands_frames_and_nodes() -> None:
    network = AASIST(channels=(2, 2, 2, 2, 2, 2), graph_size=3, stack_size=4).eval()
    seen: dict[str, tuple[int, ...]] = {}
    for name in ("encoder", "pool_bands", "pool_frames", "branches.0.pool_frames", "branches.0.pool_bands"):
        network.get_submodule(name).register_forward_hook(
            lambda module, args, out, name=name: seen.update({name: tuple(out.shape)})
        )
    network(torch.randn(2, 64_600))
    assert seen == {
        "encoder": (2, 2, 23, 29),
        "pool_bands": (2, 9, 3),  # ⌊0.4 · 23⌋
        "pool_frames": (2, 14, 3),  # ⌊0.5 · 29⌋
        "branches.0.pool_bands": (2, 6, 4),  # ⌊0.7 · 9⌋
        "branches.0.pool_frames": (2, 9, 4),  # ⌊0.7 · 14⌋
    }


def test_a_block_of_zeros_is_its_shortcut() -> None:
    block = WaveformBlock(3, 3).eval()
    last = block.body[-1]
    assert isinstance(last, nn.Conv2d)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    x = torch.randn(2, 3, 5, 10)
    torch.testing.assert_close(block(x), torch.nn.functional.max_pool2d(x, (1, 3)))
    assert WaveformBlock(3, 4)(x).shape == (2, 4, 5, 3)


def test_shapes_and_least_length(audio: torch.Tensor) -> None:
    network = small()
    assert network(audio).shape == (3, 2)
    torch.testing.assert_close(network(audio[1:2]), network(audio)[1:2], rtol=1e-4, atol=1e-5)
    least = network.min_samples
    assert network(torch.randn(1, least)).shape == (1, 2)
    with pytest.raises(ValueError, match=f"{least - 1} samples, at least {least}"):
        network(torch.randn(1, least - 1))


def test_read_out_is_the_larger_of_both_branches(audio: torch.Tensor) -> None:
    network = small()
    outputs: list[tuple[torch.Tensor, ...]] = []
    for branch in network.branches:
        branch.register_forward_hook(lambda module, args, out: outputs.append(out))
    logits = network(audio)
    frames, bands, master = (torch.stack(pair).amax(0) for pair in zip(*outputs, strict=True))
    parts = [frames.abs().max(1).values, frames.mean(1), bands.abs().max(1).values, bands.mean(1), master[:, 0]]
    torch.testing.assert_close(network.classifier(torch.cat(parts, 1)), logits)


def test_every_parameter_learns(audio: torch.Tensor) -> None:
    torch.manual_seed(0)
    network = small(freq_mask=8).train()
    network(audio.repeat(4, 1)).square().sum().backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert missing == []


def test_full_counts_the_filters() -> None:
    network = small()
    complexity = plain_complexity(network, torch.zeros(1, 9000), None)
    steps = 9000 - 32
    # filters, and the first block's second convolution: 8 → 8 channels, 2 × 3 taps, bias
    for name, flops in {
        "filters": 2 * 33 * 24 * steps,
        "encoder.0.body.4": (2 * 6 * 8 + 1) * 8 * 8 * (steps // 3),
    }.items():
        counted = [row["flops_per_call_before"] for row in complexity.table() if str(row["name"]).startswith(name)]
        assert counted == [flops]
    assert not complexity.uncounted


@pytest.mark.parametrize(("classifier", "num_classes"), [("linear", 2), ("cosine", 1)])
def test_dynamic_and_consolidated_compute_the_same(classifier: str, num_classes: int, audio: torch.Tensor) -> None:
    network = small(classifier=classifier, num_classes=num_classes)
    dynamic = dynamize(network, audio).eval()
    # 8 sizes of channels, 4 of the first graphs, 12 of the stacks; what is left has one element, or is the output
    assert len(dynamic.widths) == 24
    reasons = dict(dynamic.fixed_reasons)
    # One position for each band that is left of the spectrum.
    assert "joins it with a fixed size (aasist.py:" in reasons.pop("band_positions-1")
    assert set(reasons.values()) <= {"it has one element", "it is part of the network's output"}
    torch.testing.assert_close(dynamic(audio), network(audio))
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        for width in dynamic.widths.values():
            width.set_lam(max(width.lam_min, torch.rand((), generator=generator).item()))
        consolidated, report = consolidate(dynamic, [audio])
        torch.testing.assert_close(consolidated(audio), dynamic(audio), rtol=1e-5, atol=1e-5)
        assert sum(p.numel() for p in consolidated.parameters()) == report.parameters < report.parameters_before
        assert report.flops < report.flops_before


def test_widths_learn(audio: torch.Tensor) -> None:
    """At one of a few sizes, that is: of two branches the larger may hide the other's boundary unit."""
    dynamic = dynamize(small(), audio).train()
    learnt: set[str] = set()
    for share in (0.5, 0.7):
        for width in dynamic.widths.values():
            width.set_lam((round(share * width.units) - 0.5) / width.units)
        dynamic.zero_grad()
        dynamic(audio).square().sum().backward()
        gradients = {name: width.theta.grad for name, width in dynamic.widths.items()}
        assert all(g is not None and g.isfinite() for g in gradients.values())
        learnt |= {name for name, g in gradients.items() if g != 0}
    assert learnt == set(dynamic.widths)
