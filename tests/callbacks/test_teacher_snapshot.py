"""TeacherSnapshot: the network of the warm-up's end, whatever becomes of the student."""

import lightning
import pytest
import torch

from dyn_lightning.callbacks import PhaseSwitch, Reorder, TeacherSnapshot
from dyn_lightning.tasks import Distillation, Regression
from tests.conftest import BATCHES_PER_EPOCH

X = torch.rand(3, 65)


class AtTheSwitch(lightning.Callback):
    """Stands before the others: what the network computes when the search begins."""

    output = None

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if module.phase == "search" and self.output is None:
            module.eval()
            self.output = module.network(X).detach()
            module.train()


def distilled(make_module):
    module = make_module()
    module.task = Distillation(Regression(), weight=0.5)
    return module


def test_it_is_the_network_of_the_warm_up_s_end(make_module, make_trainer, data):
    module, seen = distilled(make_module), AtTheSwitch()
    make_trainer(seen, PhaseSwitch(1, 1), Reorder(1), TeacherSnapshot(), max_epochs=3).fit(module, data)
    teacher = module.task._teacher[0]
    torch.testing.assert_close(teacher(X), seen.output, rtol=1e-5, atol=1e-6)
    assert module.network.eval()(X).shape == seen.output.shape
    assert not torch.allclose(module.network(X), seen.output, rtol=1e-3)


def test_a_resumed_run_has_the_same_teacher(make_module, make_trainer, data, tmp_path):
    module = distilled(make_module)
    steps = 2 * BATCHES_PER_EPOCH
    trainer = make_trainer(PhaseSwitch(1, 2), TeacherSnapshot(), max_epochs=3, max_steps=steps)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    resumed = distilled(make_module)
    trainer = make_trainer(PhaseSwitch(1, 2), TeacherSnapshot(), max_epochs=3)
    trainer.fit(resumed, data, ckpt_path=tmp_path / "run.ckpt", weights_only=True)
    assert torch.equal(resumed.task._teacher[0](X), module.task._teacher[0](X))


def test_what_it_does_not_go_with(make_module, make_trainer, data):
    with pytest.raises(TypeError, match="wrap Regression in Distillation"):
        make_trainer(TeacherSnapshot(), max_epochs=1).fit(make_module(), data)
    with pytest.raises(TypeError, match="give it dynamic"):
        make_trainer(TeacherSnapshot(), max_epochs=1).fit(make_module(dynamic=[]), data)
