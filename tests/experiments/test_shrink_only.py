"""The control of the studies: its sizes follow the penalty alone."""

import pytest

from dyn_lightning.module import DynamicModule
from experiments.shrink_only import ShrinkOnly


class Scaled:
    """A task whose loss weighs ``factor`` times as much."""

    def __init__(self, task, factor):
        self.loss_of, self.factor = task.loss, factor

    def __call__(self, output, batch):
        return self.factor * self.loss_of(output, batch)


@pytest.mark.parametrize(("kind", "deaf"), [(ShrinkOnly, True), (DynamicModule, False)])
def test_sizes_hear_of_the_task_only_where_they_should(kind, deaf, make_module, make_trainer, data):
    found = []
    for factor in (1.0, 1e4):
        module = make_module()  # its penalty does not depend on the task's loss
        module.__class__ = kind
        module.task.loss = Scaled(module.task, factor)
        make_trainer(max_epochs=1, limit_val_batches=0).fit(module, data)
        found.append(module.widths["bands"].theta.item())
    assert found[0] < 0.0
    assert (found[0] == pytest.approx(found[1], abs=1e-7)) == deaf
