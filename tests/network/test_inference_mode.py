"""A pass in inference mode leaves nothing behind that a later training step could not use."""

import pytest
import torch
from torch import nn

from dyn_lightning import dynamize
from dyn_lightning.callbacks import LambdaClamp, PhaseSwitch
from dyn_lightning.data import synthetic_spectra
from dyn_lightning.network.compiled import CompiledNetwork
from dyn_lightning.network.dynamic import plain_copy


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True), nn.Linear(32, 4)

    def forward(self, x):
        return self.out(self.rnn(x)[0])


NETWORKS = {
    "recurrent": (Recurrent, (4, 10, 8)),
    "attention": (lambda: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), (4, 10, 16)),
    "groups": (
        lambda: nn.Sequential(nn.Conv1d(8, 16, 3), nn.GroupNorm(4, 16), nn.Conv1d(16, 16, 3, groups=4)),
        (4, 8, 20),
    ),
}


@pytest.mark.parametrize("state", ["frozen", "at rest", "searching"])
@pytest.mark.parametrize("name", NETWORKS)
def test_training_after_a_pass_in_inference_mode(name, state):
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    x = torch.randn(*shape)
    dynamic = dynamize(make(), x)
    for width in dynamic.widths.values():
        width.set_lam(max(width.lam_min, 0.5))
        width.set_learning(state == "searching")
        if state == "frozen":
            width.freeze()
    dynamic.train(state == "searching")
    with torch.inference_mode():
        dynamic(x)
        dynamic.complexity.flops_per_second()
        plain = plain_copy(dynamic)
    dynamic.train()
    (dynamic(x).square().mean() + dynamic.complexity.flops_per_second().log()).backward()
    assert all(w.theta.grad is not None for w in dynamic.widths.values())
    plain(x).square().mean().backward()
    assert all(p.grad is not None for p in plain.parameters())


def test_a_network_first_compiled_in_validation_trains():
    network = dynamize(nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 2)), torch.randn(2, 8))
    network.widths["0"].freeze(3)
    compiled, x = CompiledNetwork(network, backend="eager"), torch.randn(2, 8)
    with torch.inference_mode():
        compiled(x)
    compiled(x).square().mean().backward()
    assert network[0].weight.grad.abs().sum() > 0


def test_validate_and_then_fit(make_module, make_trainer, data):
    synthetic_spectra.mel_weights.cache_clear()
    synthetic_spectra._spectrum_shape.cache_clear()
    module = make_module()
    trainer = make_trainer(PhaseSwitch(0, 1), LambdaClamp(), max_epochs=2)
    trainer.validate(module, data, verbose=False)
    trainer.fit(module, data)
    assert module.phase == "settle"
