"""BatchNormReestimation: statistics of the network without noise, at its sizes."""

import torch
from torch import nn

from dyn_lightning.callbacks import BatchNormReestimation, PhaseSwitch
from dyn_lightning.dynamize import dynamize
from dyn_lightning.module import DynamicModule
from dyn_lightning.network.batch_norm import reestimate
from dyn_lightning.objectives import LambdaSquared
from dyn_lightning.tasks import Regression


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(65, 12), nn.BatchNorm1d(12), nn.Dropout(0.5), nn.Linear(12, 8))


def test_statistics_are_the_mean_over_batches_of_their_own():
    net, batches = network(), [torch.randn(10, 65) + i for i in range(3)]
    state = torch.get_rng_state()
    reestimate(net, batches)
    assert torch.equal(torch.get_rng_state(), state)
    x = [net[0](b) for b in batches]
    torch.testing.assert_close(net[1].running_mean, torch.stack([b.mean(0) for b in x]).mean(0))
    torch.testing.assert_close(net[1].running_var, torch.stack([b.var(0) for b in x]).mean(0))
    assert net.training
    assert net[1].training
    assert net[1].momentum == 0.1


def test_a_dynamic_network_is_measured_at_its_kept_sizes_without_noise():
    dynamic = dynamize(network(), torch.zeros(2, 65)).train()
    (width,) = dynamic.widths.values()
    width.set_learning(True)
    width.set_lam(7.6 / 12)
    batch = torch.randn(20, 65)
    reestimate(dynamic, [batch])
    expected = torch.nn.functional.linear(batch, dynamic[0].weight, dynamic[0].bias)
    torch.testing.assert_close(dynamic[1].running_mean[:7], expected.mean(0)[:7])
    assert torch.equal(dynamic[1].running_mean[7:], torch.zeros(5))
    assert width.training


def test_in_a_fit_the_shipped_statistics_are_those_of_training_batches(make_trainer, data):
    module = DynamicModule(
        network(),
        Regression(),
        LambdaSquared(1.0),
        example_duration_s=None,
        example_shape=[2, 65],
        lr_lam=0.1,
        lr=1e-3,
    )
    seen: list[torch.Tensor] = []

    class Watch(BatchNormReestimation):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
            seen.append(batch["input"])

    make_trainer(PhaseSwitch(0), Watch(2), max_epochs=2).fit(module, data)
    size = module.widths["0"].size
    x = [torch.nn.functional.linear(b, module.network[0].weight, module.network[0].bias) for b in seen[-2:]]
    mean = torch.stack([b.mean(0) for b in x]).mean(0)[:size]
    assert size < 12
    torch.testing.assert_close(module.network[1].running_mean[:size], mean.detach())


def test_batches_that_are_not_finite_are_left_out():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3))
    good = [torch.randn(4, 2, 10) for _ in range(3)]
    reestimate(network, good)
    expected = [network[1].running_mean.clone(), network[1].running_var.clone()]
    spoiled = torch.full((4, 2, 10), float("nan"))
    reestimate(network, [good[0], spoiled, *good[1:]])
    torch.testing.assert_close([network[1].running_mean, network[1].running_var], expected)
    reestimate(network, [spoiled])
    torch.testing.assert_close([network[1].running_mean, network[1].running_var], expected)
