"""Detection in frames: loss and metrics against closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F

from dyn_lightning.errors import SettingError
from dyn_lightning.features.frames import Frames, OutputFrames
from dyn_lightning.metrics.eer import eer
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.tasks import Distillation, FrameDetection, align_target


def test_align_target_takes_the_middle_frames():
    target = torch.arange(7.0).repeat(2, 1)
    assert align_target(torch.zeros(2, 5), target).tolist() == [[1, 2, 3, 4, 5]] * 2
    assert align_target(torch.zeros(2, 7), target).tolist() == target.tolist()
    assert align_target(torch.zeros(2, 4), target).tolist() == [[1, 2, 3, 4]] * 2


def test_align_target_refuses_too_few_targets():
    with pytest.raises(ValueError, match="hop_length"):
        align_target(torch.zeros(2, 8), torch.zeros(2, 7))


def outputs(first: int, hop_length: int = 256) -> OutputFrames:
    return OutputFrames(Frames(1024, hop_length), first)


def test_align_target_goes_by_the_frames_that_the_network_tells():
    """Two seconds of audio have 122 frames of 1024 samples every 256."""
    target = torch.arange(122.0)[None]
    assert align_target(torch.zeros(1, 120), target, 32000, outputs(1))[0].tolist() == list(range(1, 121))
    assert align_target(torch.zeros(1, 119), target, 32000, outputs(2))[0].tolist() == list(range(2, 121))
    assert align_target(torch.zeros(1, 122), target, 32000, outputs(0))[0].tolist() == list(range(122))


@pytest.mark.parametrize(
    ("n_outputs", "told", "message"),
    [
        (59, outputs(1, 512), r"hop_length=512\) are 61 in 32000 samples.*data\.follow"),
        (119, outputs(1, 257), r"hop_length=257\) are 121 in 32000"),
        (61, outputs(0), "leaves out 0 frames at the beginning"),
        (59, outputs(1), "leaves out 1 frames at the beginning"),
        (59, None, "is not known. Give the network the attributes sample_rate"),
    ],
)
def test_targets_of_other_frames_are_refused(n_outputs, told, message):
    with pytest.raises(SettingError, match=message):
        align_target(torch.zeros(1, n_outputs), torch.zeros(1, 122), 32000, told)


def test_frame_detection_follows_its_network():
    """Loss and metrics are those of the network's own frames, also behind a distillation."""
    network, audio = CRNNVAD(8, 8, 8, hop_length=512).eval(), torch.randn(2, 32000)
    task = FrameDetection()
    Distillation(task, teacher=network).follow(network)
    with torch.no_grad():
        logits = network(audio)
    right = {"audio": audio, "target": torch.randint(0, 2, (2, 61)).float()}
    expected = F.binary_cross_entropy_with_logits(logits, right["target"][:, 1:-1])
    torch.testing.assert_close(task.loss(logits, right), expected)
    wrong = {"audio": audio, "target": torch.zeros(2, 122)}
    with pytest.raises(SettingError, match="hop_length=512"):
        task.loss(logits, wrong)
    with pytest.raises(SettingError, match="hop_length=512"):
        task.new_metrics().update(logits, wrong)


def test_frame_detection_loss_is_the_mean_over_scored_frames():
    logits = torch.tensor([[0.3, -1.2, 2.0]])
    batch = {"target": torch.tensor([[0.0, 1.0, -100.0, 0.0, 1.0]])}
    by_hand = (math.log1p(math.exp(-0.3)) + math.log1p(math.exp(2.0))) / 2
    assert FrameDetection().loss(logits, batch).item() == pytest.approx(by_hand, rel=1e-6)


def test_frame_detection_weights_positive_frames():
    logits, target = torch.randn(2, 9), torch.randint(0, 2, (2, 9)).float()
    expected = F.binary_cross_entropy_with_logits(logits, target, pos_weight=torch.tensor(3.0))
    assert FrameDetection(positive_weight=3.0).loss(logits, {"target": target}) == pytest.approx(expected)


def test_frame_detection_loss_without_scored_frames_is_zero_and_differentiable():
    logits = torch.randn(1, 4, requires_grad=True)
    loss = FrameDetection().loss(logits, {"target": torch.full((1, 4), -100.0)})
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad.abs().sum() == 0.0


def test_detection_metrics_pool_batches_of_any_size_and_split_by_snr():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(12, 20, generator=generator)
    target = (torch.rand(12, 22, generator=generator) + 0.2 * scores.new_ones(12, 22) > 0.7).float()
    snr_db = torch.linspace(-4, 29, 12)
    metrics = FrameDetection().new_metrics()
    for rows in (slice(0, 5), slice(5, 6), slice(6, 12)):
        metrics.update(scores[rows], {"target": target[rows], "meta": {"snr_db": snr_db[rows]}})
    found = metrics.compute()
    rate, threshold = eer(scores, target[:, 1:-1])
    assert float(found["eer"]) == pytest.approx(rate)
    assert float(found["threshold"]) == pytest.approx(threshold)
    low = snr_db < 5
    assert float(found["eer_snr_db_<5"]) == pytest.approx(eer(scores[low], target[low, 1:-1])[0])
    metrics = FrameDetection().new_metrics()
    metrics.update(scores[:4], {"target": target[:4], "meta": {}})
    assert set(metrics.compute()) == {"eer", "threshold"}


def test_detection_metrics_skip_unknown_snr():
    metrics = FrameDetection().new_metrics()
    batch = {"target": torch.tensor([[0.0, 1.0]]), "meta": {"snr_db": torch.tensor([math.nan])}}
    metrics.update(torch.tensor([[0.0, 1.0]]), batch)
    assert set(metrics.compute()) == {"eer", "threshold"}
