"""TrVAD: published counts, attention by hand, learned bands, and what it sees."""

import random

import onnxruntime
import pytest
import torch
from torch import nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.dynamize import dynamize
from dyn_lightning.exports.export import export_onnx, onnx_call
from dyn_lightning.features.spectral import MelFilterBank
from dyn_lightning.inference.streaming import streams_exactly
from dyn_lightning.models.tr_vad import BandAttention, BandBlock, ConvolutionalFeedForward, TrVAD
from dyn_lightning.profiling.receptive_field import receptive_fields
from dyn_lightning.tasks import FrameDetection

# Bands → parameters and MFLOPs of one second (arXiv 2601.13704). DTrVAD at 0.0625 repeats the 12 bands of 0.125 with
# CRNNVAD's parameters, a misprint.
PUBLISHED = {
    80: (138_082, 19.573904),
    48: (50_594, 7.201232),
    40: (35_442, 5.054624),
    24: (13_202, 1.89728),
    20: (9_322, 1.344584),
    16: (6_114, 0.886544),
    12: (3_578, 0.52316),
    8: (1_714, 0.254432),
}
ONE_SIZE = [["mel", "conv", "blocks.*"]]
SECOND = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def published_complexity() -> Complexity:
    """Of the full network with one width for all of its sizes."""
    dynamic = dynamize(TrVAD(), SECOND, duration_s=1.0, ties=ONE_SIZE)
    assert {name: width.full_size for name, width in dynamic.widths.items()} == {"mel": 80}
    return dynamic.complexity


def published_flops(complexity: Complexity, sizes: dict[str, int]) -> float:
    """The paper's convention, and the products of attention, which it leaves out, at 2 per multiply-add."""
    products = sum(row.flops["full"].at(sizes) for row in complexity.rows if row.kind == "matmul")
    return complexity.flops_at(sizes, "paper") + products


@pytest.mark.parametrize("bands", PUBLISHED)
def test_published_counts_of_each_network(bands: int) -> None:
    network = TrVAD(bands)
    parameters, mflops = PUBLISHED[bands]
    assert sum(p.numel() for p in network.parameters()) == parameters == 21 * bands**2 + 46 * bands + 2
    complexity = dynamize(network, SECOND, duration_s=1.0, dynamic=["mel"]).complexity
    assert complexity.uncounted == ()
    assert published_flops(complexity, complexity.full_sizes) == round(1e6 * mflops)


@pytest.mark.parametrize("bands", PUBLISHED)
def test_published_counts_are_one_polynomial_in_the_bands(published_complexity: Complexity, bands: int) -> None:
    parameters, mflops = PUBLISHED[bands]
    assert published_complexity.parameters_at({"mel": bands}) == parameters
    assert published_flops(published_complexity, {"mel": bands}) == round(1e6 * mflops)
    frames, attention = 59, 8 * bands**2
    assert published_complexity.flops_at({"mel": bands}, "paper") == round(1e6 * mflops) - frames * attention


def test_attention_by_hand() -> None:
    torch.manual_seed(0)
    attention, x = BandAttention(5), torch.randn(2, 7, 5)
    with torch.no_grad():
        for name in ("query", "key"):  # far from uniform weights
            getattr(attention, name).weight.mul_(5.0)
        answer = attention(x)
        for i in range(2):
            q, k, v = (x[i] @ getattr(attention, n).weight.T for n in ("query", "key", "value"))
            columns = []
            for band in range(5):
                scores = torch.stack([(q[:, band] * k[:, other]).sum() / 7 for other in range(5)])
                columns.append(sum(w * v[:, other] for other, w in enumerate(scores.exp() / scores.exp().sum())))
            expected = torch.stack(columns, 1) @ attention.output.weight.T
            torch.testing.assert_close(answer[i], expected)


def test_attention_does_not_depend_on_the_length_of_a_periodic_signal() -> None:
    attention, x = BandAttention(6), torch.randn(1, 10, 6)
    torch.testing.assert_close(attention(x.repeat(1, 50, 1))[:, :10], attention(x), rtol=1e-4, atol=1e-5)


def test_feed_forward_keeps_frames_in_place() -> None:
    feed_forward, x = ConvolutionalFeedForward(4, 3), torch.randn(1, 20, 4)
    changed = x.clone()
    changed[:, 10] += torch.tensor([3.0, -1.0, 2.0, 0.5])
    moved = (feed_forward(changed) - feed_forward(x)).abs().sum(2)[0] > 0
    assert moved.nonzero().flatten().tolist() == [8, 9, 10, 11, 12]


def test_block_is_two_residual_sums_behind_norms() -> None:
    block, x = BandBlock(6, 3), 5.0 + 3.0 * torch.randn(2, 9, 6)
    middle = x + block.attention(nn.functional.layer_norm(x, (6,)))
    expected = middle + block.feed_forward(nn.functional.layer_norm(middle, (6,)))
    torch.testing.assert_close(block(x), expected)


def test_shapes_and_least_length() -> None:
    network = TrVAD(8)
    assert network(torch.randn(3, 16000)).shape == (3, 59)
    assert network(torch.randn(1, 1024)).shape == (1, 1)
    assert network.first_frame_centre_s == pytest.approx(512 / 16000)
    with pytest.raises(ValueError, match="at least 1024"):
        network(torch.randn(1, 1023))
    with pytest.raises(ValueError, match="kernel_size=8"):
        TrVAD(8, kernel_size=8)


def test_logit_is_speech_minus_none() -> None:
    network, audio = TrVAD(8).eval(), torch.randn(2, 4000)
    outputs: list[torch.Tensor] = []
    network.linear.register_forward_hook(lambda _, __, y: outputs.append(y))
    logits = network(audio)
    torch.testing.assert_close(logits.sigmoid(), outputs[0].softmax(-1)[..., 1])


def test_utterances_do_not_mix() -> None:
    network, audio = TrVAD(8).eval(), 0.1 * torch.randn(2, 16000)
    torch.testing.assert_close(network(audio[1:]), network(audio)[1:], rtol=1e-4, atol=1e-5)


def test_every_logit_depends_on_the_whole_utterance() -> None:
    """Through attention alone: the convolutions of both blocks and of the stem reach 20 frames."""
    torch.manual_seed(0)
    network = TrVAD(8).eval()
    audio = (0.1 * torch.randn(1, 24000, dtype=torch.float64)).requires_grad_()
    network.double()(audio)[0, 0].backward()
    assert audio.grad is not None
    assert audio.grad[0, (20 * 256 + 1024) :].abs().max() > 0
    for block in network.blocks:
        block.attention.output.weight.data.zero_()
    fields = receptive_fields(network.float(), torch.zeros(1, 24000))
    assert fields["conv"].size == pytest.approx(1023 + 8 * 256)
    assert fields[""].size == pytest.approx(1023 + 40 * 256)
    assert not streams_exactly(TrVAD(8).eval(), 256, 20, min_samples=1024)


def test_frame_detection_trains_every_parameter() -> None:
    torch.manual_seed(0)
    network, task = TrVAD(8), FrameDetection()
    batch = {"audio": 0.1 * torch.randn(2, 8000), "target": torch.randint(0, 2, (2, 28))}
    task.loss(network(task.input_of(batch)), batch).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("mel_spacing", ["respaced", "ranked"])
@pytest.mark.parametrize("ties", [[], [["conv", "blocks.*"]], ONE_SIZE])
def test_learned_bands_change_the_whole_network(ties: list[list[str]], mel_spacing: str) -> None:
    torch.manual_seed(0)
    network = TrVAD(20, kernel_size=5).eval()
    dynamic = dynamize(network, SECOND, duration_s=1.0, ties=ties, mel_spacing=mel_spacing).eval()
    assert len(dynamic.widths) == (8 if not ties else 1 if ties == ONE_SIZE else 2)
    torch.testing.assert_close(dynamic(SECOND), network(SECOND), rtol=1e-6, atol=1e-6)
    generator = random.Random(1)
    for _ in range(3):
        for width in dynamic.widths.values():
            width.set_lam(generator.uniform(0.2, 1.0))
        small, report = consolidate(dynamic, [SECOND])
        assert report.largest_relative_difference is not None
        assert report.largest_relative_difference < 1e-5
        assert type(small) is TrVAD
        sizes = {name: width.size for name, width in dynamic.widths.items()}
        assert sum(p.numel() for p in small.parameters()) == dynamic.complexity.parameters_at(sizes)
        assert report.flops == pytest.approx(dynamic.complexity.flops_at(sizes))
        if ties == ONE_SIZE:
            plain = TrVAD(sizes["mel"], kernel_size=5)
            assert {k: v.shape for k, v in small.state_dict().items()} == {
                k: v.shape for k, v in plain.state_dict().items()
            }


def test_respaced_bands_divide_up_the_range_anew_unless_they_share_their_size() -> None:
    network = TrVAD(20, kernel_size=3)
    respaced = dynamize(network, SECOND, ties=[["conv", "blocks.*"]])
    assert set(respaced.widths) == {"mel", "conv"}
    ranked, tied = dynamize(network, SECOND, mel_spacing="ranked"), dynamize(network, SECOND, ties=ONE_SIZE)
    for dynamic in (respaced, ranked, tied):
        dynamic.widths["mel"].set_lam(0.5)
    filters, expected = consolidate(respaced)[0].mel.fb, MelFilterBank(513, 10).fb
    torch.testing.assert_close(filters / filters.amax(0), expected / expected.amax(0))
    for dynamic in (ranked, tied):
        torch.testing.assert_close(consolidate(dynamic)[0].mel.fb, network.mel.fb[:, :10])


def test_boundary_band_learns_in_training() -> None:
    torch.manual_seed(0)
    dynamic = dynamize(TrVAD(20, kernel_size=3), SECOND, ties=ONE_SIZE).train()
    width = dynamic.widths["mel"]
    width.set_lam(0.53)
    dynamic(torch.randn(2, 8000)).square().mean().backward()
    assert width.theta.grad is not None
    assert torch.isfinite(width.theta.grad)
    assert width.theta.grad != 0


def test_onnx_at_any_length(tmp_path) -> None:
    torch.manual_seed(0)
    dynamic = dynamize(TrVAD(12, num_layers=1, kernel_size=3), SECOND, ties=ONE_SIZE)
    dynamic.widths["mel"].set_lam(0.6)
    small = consolidate(dynamic)[0].eval()
    check = export_onnx(small, torch.randn(2, 16000), tmp_path / "vad.onnx", input_names=["audio"])
    assert check.free == [[0, 1]]
    session = onnxruntime.InferenceSession(tmp_path / "vad.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, 1024), (3, 40_001)):
        audio = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(onnx_call(session)(audio)[0], small(audio), rtol=1e-4, atol=1e-5)
