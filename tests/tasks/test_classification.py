"""Classification: loss and metrics by hand, and through a whole run."""

import math

import lightning
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss
from torch import nn
from torch.utils.data import DataLoader

from dyn_lightning.module import DynamicModule
from dyn_lightning.tasks import Classification


def test_cross_entropy_is_sklearn_s():
    torch.manual_seed(0)
    output, target = torch.randn(20, 4), torch.arange(20) % 4
    expected = log_loss(target.numpy(), output.double().softmax(1).numpy(), labels=range(4))
    assert Classification().loss(output, {"target": target}).item() == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_by_hand():
    log_p = [-math.log1p(math.exp(-2.0)), -2.0 - math.log1p(math.exp(-2.0))]  # of logits 2 and 0
    loss = Classification(label_smoothing=0.2).loss(torch.tensor([[2.0, 0.0]]), {"target": torch.tensor([0])})
    assert loss.item() == pytest.approx(-0.9 * log_p[0] - 0.1 * log_p[1])
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\], got 1.5"):
        Classification(label_smoothing=1.5)


def test_rates_count_items_and_not_batches():
    torch.manual_seed(0)
    output, target = torch.randn(23, 3), torch.randint(0, 3, (23,))
    metrics = Classification().new_metrics()
    for part in (slice(0, 16), slice(16, 23)):
        metrics.update(output[part], {"target": target[part]})
    found = metrics.compute()
    expected = accuracy_score(target, output.argmax(1))
    assert float(found["accuracy"]) == pytest.approx(expected)
    assert float(found["error_rate"]) == pytest.approx(1 - expected)


@pytest.mark.parametrize(("output", "target"), [((4, 3), (3,)), ((4,), (4,)), ((4, 3, 5), (4, 5))])
def test_what_does_not_fit_is_named(output, target):
    batch = {"target": torch.zeros(target)}
    for call in (Classification().loss, Classification().new_metrics().update):
        with pytest.raises(ValueError, match=r"one logit per item and class, \(B, C\)"):
            call(torch.zeros(output), batch)


def test_a_run_learns_and_logs_both_rates():
    torch.manual_seed(0)
    x = torch.randn(256, 2)
    items = [{"input": a, "target": (a[0] > a[1]).long()} for a in x]
    module = DynamicModule(
        nn.Linear(2, 2),
        Classification("input"),
        dynamic=[],
        example_duration_s=None,
        example_shape=[1, 2],
        lr=0.1,
    )
    loader = DataLoader(items, 32)
    trainer = lightning.Trainer(
        max_epochs=5, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(module, loader, loader)
    assert trainer.callback_metrics["val/accuracy"] > 0.97
    assert trainer.callback_metrics["val/error_rate"] + trainer.callback_metrics["val/accuracy"] == pytest.approx(1.0)
