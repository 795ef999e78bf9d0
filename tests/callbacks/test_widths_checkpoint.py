"""WidthsCheckpoint: a best checkpoint has the final sizes, and every epoch can be resumed from."""

from pathlib import Path

import torch

from dyn_lightning.callbacks import LambdaClamp, PhaseSwitch, WidthsCheckpoint


class Falling(WidthsCheckpoint):
    """Notes at which epoch a best checkpoint was written."""

    def __init__(self):
        super().__init__(monitor="val/loss")
        self.epochs = []

    def _update_best_and_save(self, current, trainer, monitor_candidates):
        self.epochs.append(trainer.current_epoch)
        super()._update_best_and_save(current, trainer, monitor_candidates)


def test_no_best_before_the_sizes_are_final(make_module, make_trainer, data):
    module, checkpoint = make_module(lr=1e-4), Falling()
    make_trainer(PhaseSwitch(1, 1), LambdaClamp(), checkpoint, max_epochs=4).fit(module, data)
    # The search ends with the last step of epoch 1, so its validation already saw the final sizes.
    assert checkpoint.epochs
    assert min(checkpoint.epochs) >= 1
    best = torch.load(checkpoint.best_model_path, weights_only=True)
    fresh = make_module()
    fresh.load_state_dict(best["state_dict"])
    assert fresh.phase == "settle"
    assert fresh.complexity.sizes_now == module.complexity.sizes_now


def test_best_is_chosen_by_the_validation(make_module, make_trainer, data):
    checkpoint = WidthsCheckpoint(monitor="val/loss")
    trainer = make_trainer(PhaseSwitch(1, 1), checkpoint, max_epochs=4)
    trainer.fit(make_module(), data)
    chosen = trainer.validate(ckpt_path="best", datamodule=data, verbose=False, weights_only=True)[0]["val/loss"]
    assert abs(chosen - float(checkpoint.best_model_score)) < 1e-6


def test_without_settle_the_last_is_the_best(make_module, make_trainer, data):
    checkpoint = WidthsCheckpoint()
    module = make_module()
    make_trainer(PhaseSwitch(1), checkpoint, max_epochs=3).fit(module, data)
    content = torch.load(checkpoint.best_model_path, weights_only=True)
    assert content["epoch"] == 2
    fresh = make_module()
    fresh.load_state_dict(content["state_dict"])
    assert fresh.phase == "settle"


def test_last_is_written_every_epoch_under_one_name(make_module, make_trainer, data):
    checkpoint = WidthsCheckpoint()
    trainer = make_trainer(PhaseSwitch(2, 1), checkpoint, max_epochs=2 + 1)
    trainer.fit(make_module(), data)
    folder = Path(checkpoint.last_model_path).parent
    assert {p.name for p in folder.iterdir()} <= {"last.ckpt", "best.ckpt"}
    content = torch.load(folder / "last.ckpt", weights_only=True)
    assert content["global_step"] == 12


def test_a_baseline_keeps_its_best(make_module, make_trainer, data):
    checkpoint = Falling()
    make_trainer(checkpoint, max_epochs=2).fit(make_module(dynamic=[]), data)
    assert checkpoint.epochs[0] == 0
