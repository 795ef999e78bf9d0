"""Distillation: the loss by hand, the teacher out of the checkpoint, and everything else the task's."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dyn_lightning.artifact import save_artifact
from dyn_lightning.tasks import Classification, Distillation, FrameDetection, Regression, SpoofDetection


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return {"audio": torch.randn(6, 4), "target": torch.arange(6) % 3}


def test_training_mixes_both_losses_and_evaluation_does_not(batch):
    teacher, student = nn.Linear(4, 3), nn.Linear(4, 3)
    task = Distillation(Classification(), teacher, weight=0.25, temperature=2.0)
    output = student(batch["audio"])
    hard = F.cross_entropy(output, batch["target"])
    p = (teacher(batch["audio"]) / 2).softmax(1)
    soft = 4 * (p * (p.log() - (output / 2).log_softmax(1))).sum(1).mean()
    torch.testing.assert_close(task.loss(output, batch), 0.75 * hard + 0.25 * soft)
    torch.testing.assert_close(task.eval().loss(output, batch), hard)


def test_the_teacher_learns_nothing_and_is_not_saved(batch):
    teacher = nn.Sequential(nn.Linear(4, 3), nn.Dropout())
    task = Distillation(Classification(), teacher)
    student = nn.Linear(4, 3)
    task.loss(student(batch["audio"]), batch).backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert not teacher.training
    assert student.weight.grad is not None
    assert not any(task.parameters())
    assert not task.state_dict()


def test_of_a_network_that_agrees_only_the_task_s_loss_is_left(batch):
    net = nn.Linear(4, 3)
    output = net(batch["audio"])
    task = Distillation(Classification(), net, weight=0.4)
    torch.testing.assert_close(task.loss(output, batch), 0.6 * F.cross_entropy(output, batch["target"]))


def test_without_a_teacher_it_is_the_task(batch):
    output = torch.randn(6, 3)
    task = Distillation(Classification())
    assert not task.has_teacher
    torch.testing.assert_close(task.loss(output, batch), F.cross_entropy(output, batch["target"]))


def test_frames_are_two_classes_of_one_logit(batch):
    logits, soft = torch.randn(2, 5), torch.randn(2, 5)
    p, q = (torch.stack([x.sigmoid(), (-x).sigmoid()], -1) for x in (logits, soft))
    expected = (q * (q.log() - p.log())).sum(-1).mean()
    torch.testing.assert_close(FrameDetection().distillation_loss(logits, soft, 1.0), expected)


def test_from_an_artifact(tmp_path, batch):
    teacher = nn.Sequential(nn.Linear(4, 3)).eval()
    save_artifact(teacher, tmp_path / "teacher", metadata={}, example_input=torch.zeros(1, 4))
    a = Distillation(Classification(), str(tmp_path / "teacher"))
    b = Distillation(Classification(), teacher)
    output = torch.randn(6, 3)
    torch.testing.assert_close(a.loss(output, batch), b.loss(output, batch))


def test_inference_is_told_of_the_task_itself():
    task = Distillation(SpoofDetection())
    assert task.name == "SpoofDetection"
    assert task.metadata() == SpoofDetection().metadata()
    assert type(task.new_metrics()) is type(SpoofDetection().new_metrics())


def test_what_cannot_be(batch):
    with pytest.raises(ValueError, match=r"weight must lie in \[0, 1\], got 1.5"):
        Distillation(Classification(), weight=1.5)
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        Distillation(Classification(), temperature=0.0)
    with pytest.raises(TypeError, match=r"SpoofDetection has no logits .* cannot be distilled"):
        SpoofDetection("am_softmax").distillation_loss(torch.randn(2, 2), torch.randn(2, 2), 1.0)


def test_features_are_compared_as_in_the_task():
    output, teacher = torch.rand(3, 4), torch.rand(3, 5)
    expected = (F.pad(output, (0, 1)) - teacher).abs().mean()
    torch.testing.assert_close(Regression().distillation_loss(output, teacher, 2.0), expected)
