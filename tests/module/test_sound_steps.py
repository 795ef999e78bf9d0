"""Steps whose loss is not finite: they leave no trace, and a run of nothing else ends in one clear error."""

import math

import pytest
import torch
from torch import nn

from dyn_lightning.callbacks import Consolidate, LambdaClamp, PhaseSwitch
from dyn_lightning.module.sound_steps import LONGEST, NonFiniteError, SoundSteps
from dyn_lightning.objectives import FlopsBudget, LossTolerance
from dyn_lightning.tasks import Regression
from dyn_lightning.widths.width import Width
from experiments.peers.gates import HardConcreteGates


class Spoiled(Regression):
    """Losses of training that are not finite at the given calls."""

    def __init__(self, bad, at):
        super().__init__()
        self.bad, self.at, self.calls = bad, at, 0

    def loss(self, output, batch):
        loss = super().loss(output, batch)
        if self.training:
            self.calls += 1
            if self.calls - 1 in self.at:
                return loss * self.bad
        return loss


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("objective", [lambda: FlopsBudget(share=0.5), lambda: LossTolerance(0.1)])
@pytest.mark.parametrize("kind", [Width, HardConcreteGates])
def test_single_losses_do_not_poison_the_search(make_module, make_trainer, data, bad, objective, kind):
    module = make_module(objective=objective(), width_class=kind)
    module.task = Spoiled(bad, {0, 5, 6})
    with pytest.warns(UserWarning, match="is left out"):
        make_trainer(PhaseSwitch(1, 1), LambdaClamp(), max_epochs=3).fit(module, data)
    assert module.phase == "settle"
    assert all(p.isfinite().all() for p in module.parameters())
    assert all(b.isfinite().all() for b in module.objective.buffers())
    if isinstance(module.objective, FlopsBudget):
        cost = module.complexity
        assert cost.flops_now() <= module.objective.budget(cost)


@pytest.mark.parametrize("last", [True, False])
def test_nothing_but_nan_ends_in_one_clear_error(make_module, make_trainer, data, last, tmp_path):
    module, folder = make_module(), tmp_path / "artifact"
    module.task = Spoiled(math.nan, range(10**6))
    trainer = make_trainer(PhaseSwitch(1, 1), Consolidate(str(folder)), max_epochs=3 if last else 8)
    with pytest.raises(NonFiniteError, match=r"training has failed: .*gradient_clip_val"):
        trainer.fit(module, data)
    assert trainer.global_step == (12 if last else LONGEST - 1)
    assert not folder.exists()


def test_weights_that_are_nan_are_named_at_once(make_module, make_trainer, data):
    module = make_module()
    with torch.no_grad():
        module.network.readout.weight[0, 0] = math.nan
    with pytest.raises(NonFiniteError, match=r"readout\.weight holds NaN"):
        make_trainer(PhaseSwitch(1, 1)).fit(module, data)


def test_lam_that_is_nan_is_said(make_module):
    module = make_module()
    with torch.no_grad():
        module.widths["bands"].theta.fill_(math.nan)
    with pytest.raises(ValueError, match=r"λ of a learned size of 16 is nan.*gradient_clip_val"):
        module(torch.rand(1, 65))


def test_a_step_left_out_moves_no_weight_and_no_statistics():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    sound, x = SoundSteps(), torch.randn(8, 3)
    for step in range(4):
        spoiled = step == 2
        before = {k: v.clone() for k, v in network.state_dict().items()}
        sound.before(network)
        loss = network(x * (math.nan if spoiled else 1.0)).square().mean()
        sound.see(loss.detach(), network, step)
        optimizer.zero_grad()
        loss.backward()
        sound.before_optimizer(optimizer)
        optimizer.step()
        for name, value in network.state_dict().items():
            if name.endswith(("weight", "bias", "mean", "var")):
                assert value.isfinite().all()
                assert torch.equal(value, before[name]) == spoiled, name
