"""Reorder: once, at the first step of the search, and without a trace but the order."""

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from dyn_lightning.callbacks import PhaseSwitch, Reorder
from dyn_lightning.callbacks import reorder as callback_module


class Recorder(lightning.Callback):
    """Stands behind Reorder: what it left at each step."""

    def __init__(self):
        self.batches = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        assert all(width.learning == (module.phase == "search") for width in module.widths.values())
        self.batches.append(batch["input"].clone())


@pytest.fixture
def calls(monkeypatch):
    """What is handed to ``reorder``, and what it changes."""
    found = []

    def watched(network, scores, optimizer, also=None):
        x = torch.rand(3, 65)
        before = network(x)
        gradients = [None if p.grad is None else p.grad.clone() for p in network.parameters()]
        found.append({"scores": scores, "network": network, "gradients": gradients, "optimizer": optimizer})
        real(network, scores, optimizer, also)
        torch.testing.assert_close(network(x), before, rtol=1e-4, atol=1e-5)

    real = callback_module.reorder
    monkeypatch.setattr(callback_module, "reorder", watched)
    return found


class Marker(lightning.Callback):
    """Stands before Reorder: gradients of a known value, and the step at which the search starts."""

    def __init__(self):
        self.calls, self.first_step = None, None

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if module.phase == "search" and self.first_step is None:
            assert self.calls == []
            self.first_step = trainer.global_step
            for parameter in module.network.parameters():
                parameter.grad = torch.full_like(parameter, 3.0)


def test_once_at_the_first_step_of_the_search(make_module, make_trainer, data, calls):
    module, marker = make_module(), Marker()
    marker.calls = calls
    make_trainer(marker, PhaseSwitch(1, 1), Reorder(2), Recorder(), max_epochs=3).fit(module, data)
    assert marker.first_step == 4
    (call,) = calls
    assert call["network"] is module.network
    assert call["optimizer"] is not None
    assert {name: len(score) for name, score in call["scores"].items()} == {"bands": 16}
    assert (call["scores"]["bands"] > 0).all()
    assert all((gradient == 3.0).all() for gradient in call["gradients"])


def test_not_before_the_search_and_not_for_a_baseline(make_module, make_trainer, data, calls):
    make_trainer(PhaseSwitch(1), Reorder(1), max_epochs=2, limit_train_batches=1, max_steps=1).fit(make_module(), data)
    make_trainer(Reorder(1), max_epochs=1).fit(make_module(dynamic=[]), data)
    assert calls == []


def test_the_most_important_come_first(make_module, make_trainer, data, calls, tmp_path):
    module = make_module(lr=1e-9, lr_lam=1e-9)
    make_trainer(Reorder(4), max_epochs=1).fit(module, data)
    (call,) = calls
    for width in module.widths.values():
        width.unfreeze()
        width.set_lam(1.0)
        width.set_learning(False)
    again = callback_module.importance(
        module.network,
        (lambda b=b: module.task.loss(module.network(b["input"]), b) for b in data.train_dataloader()),
    )
    expected = call["scores"]["bands"].sort(descending=True).values
    torch.testing.assert_close(again["bands"], expected, rtol=1e-3, atol=1e-8)


def test_a_resumed_search_is_not_reordered_again(make_module, make_trainer, data, calls, tmp_path):
    trainer = make_trainer(PhaseSwitch(1, 2), Reorder(1), max_epochs=3, limit_train_batches=2, max_steps=4)
    trainer.fit(make_module(), data)
    assert len(calls) == 1
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    callback = Reorder(1)
    resumed = make_trainer(PhaseSwitch(1, 2), callback, max_epochs=3, limit_train_batches=2)
    resumed.fit(make_module(), data, ckpt_path=tmp_path / "run.ckpt", weights_only=True)
    assert resumed.global_step == 6
    assert callback.done
    assert len(calls) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_the_epoch_goes_on_with_the_batches_that_it_had(make_module, make_trainer, data, calls, workers):
    def loader():
        plain = data.train_dataloader()
        return DataLoader(
            plain.dataset, batch_size=None, sampler=plain.sampler, num_workers=workers, persistent_workers=workers > 0
        )

    seen = []
    for callbacks in ([], [Reorder(3)]):
        recorder = Recorder()
        trainer = make_trainer(*callbacks, recorder, max_epochs=2, limit_val_batches=0)
        trainer.fit(make_module(), loader())
        seen.append(torch.stack(recorder.batches))
    assert len(calls) == 1
    assert torch.equal(*seen)


def test_nothing_to_measure_on():
    with pytest.raises(ValueError, match="batches must be"):
        Reorder(0)
