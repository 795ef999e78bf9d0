"""Modules and dynamic networks travel: deep copies, pickles, other processes; what watches them stays behind."""

import copy
import functools
import io
import pickle

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.profilers.pytorch import RegisterRecordFunction
from torch import nn

from dyn_lightning import consolidate, dynamize
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.network.copies import watches
from dyn_lightning.optim import OptimizerCallable, portable
from experiments.peers.gates import HardConcreteGates


class Mixed(nn.Module):
    """Tables, grouped norms, recurrence, attention and a parameter of its own: every kind of tie."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(8, 16, 3), nn.GroupNorm(4, 16)
        self.gru, self.attention = nn.GRU(16, 16, batch_first=True), nn.MultiheadAttention(16, 4, batch_first=True)
        self.scale, self.out = nn.Parameter(torch.ones(16)), nn.Linear(16, 4)

    def forward(self, x):
        h = torch.relu(self.norm(self.conv(x))).transpose(1, 2)
        h, _ = self.gru(h)
        return self.out((h + self.attention(h, h, h)[0]) * self.scale)


NETWORKS = {
    "mixed": (Mixed, (2, 8, 30)),
    "crnn": (CRNNVAD, (1, 8000)),
    "sequential": (
        lambda: nn.Sequential(nn.Conv1d(8, 16, 3), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 4, 1)),
        (2, 8, 30),
    ),
}


def halved(name, **options):
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    x = torch.randn(*shape)
    dynamic = dynamize(make(), x, **options)
    for i, width in enumerate(dynamic.widths.values()):
        width.freeze(max(1, width.full_size // 2 - i % 2))
    return dynamic.eval(), x


def by_torch(module):
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


WAYS = {"deepcopy": copy.deepcopy, "pickle": lambda m: pickle.loads(pickle.dumps(m)), "torch.save": by_torch}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_dynamic_network_travels_and_goes_on(name, way):
    dynamic, x = halved(name)
    again = WAYS[way](dynamic)
    assert type(again).__name__ == type(dynamic).__name__
    assert torch.equal(again(x), dynamic(x))
    assert again.complexity.flops_now() == dynamic.complexity.flops_now()
    # Its sizes are its own: the first one's stay.
    width = next(iter(again.widths.values()))
    before = dynamic.complexity.flops_now()
    width.freeze(width.full_size)
    assert again.complexity.flops_now() > before == dynamic.complexity.flops_now()
    _, report = consolidate(again, [x])
    assert report.largest_relative_difference < 1e-5
    again.train()
    for width in again.widths.values():
        width.unfreeze()
        width.set_lam(0.6)
    again(x).pow(2).mean().backward()
    assert all(torch.isfinite(w.theta.grad) for w in again.widths.values())


def test_gated_networks_travel_too():
    dynamic, x = halved("mixed", width_class=HardConcreteGates)
    assert torch.equal(WAYS["pickle"](dynamic)(x), dynamic(x))


def test_hooks_of_the_trainers_profiler_stay_behind_and_others_travel(make_module):
    module, seen = make_module(), []
    module.network.bands.register_forward_hook(lambda *_: seen.append("mine"))
    profiler = RegisterRecordFunction(module)
    with profiler:
        twin = copy.deepcopy(module)
        small, _ = consolidate(module.network)
        assert any(watches(h) for h in module.network.bands._forward_hooks.values())
    for copied in (twin, small):
        assert not any(watches(h) for m in copied.modules() for h in m._forward_hooks.values())
    twin(torch.rand(2, 65))
    assert seen == ["mine"]


class Recorder(nn.Module):
    """Hears its layer by a hook on it that is a method of its own."""

    def __init__(self):
        super().__init__()
        self.layer, self.heard = nn.Linear(4, 4), None
        self.layer.register_forward_hook(functools.partial(self.hear, factor=2.0))

    def hear(self, _layer, _inputs, output, factor):
        self.heard = factor * output.detach()

    def forward(self, x):
        self.layer(x)
        return self.heard


def test_a_networks_own_hooks_belong_to_its_copy():
    dynamic = dynamize(nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 4), Recorder()), torch.randn(2, 4))
    twin, x = copy.deepcopy(dynamic), torch.randn(2, 4)
    dynamic[2].heard = None
    assert twin(x).shape == (2, 4)
    assert dynamic[2].heard is None


def test_a_module_is_pickled_without_trainer_and_metrics(make_module, make_trainer, data):
    module = make_module()
    make_trainer(max_epochs=1).fit(module, data)
    again = pickle.loads(pickle.dumps(module))
    assert again._trainer is None
    assert again._evaluations == {}
    assert again.phase == module.phase
    x = torch.rand(2, 65)
    assert torch.equal(again.eval()(x), module.eval()(x))


def test_the_parsers_machinery_is_taken_out_of_an_optimiser():
    parser = ArgumentParser()
    parser.add_argument("--optimizer", type=OptimizerCallable)
    given = ["--optimizer", "torch.optim.SGD", "--optimizer.momentum", "0.9"]
    made = parser.instantiate_classes(parser.parse_args(given)).optimizer
    assert made.func is not torch.optim.SGD
    optimizer = pickle.loads(pickle.dumps(portable(made)))([nn.Parameter(torch.zeros(2))])
    assert portable(made).func is type(optimizer) is torch.optim.SGD
    assert optimizer.defaults["momentum"] == 0.9
    assert portable(torch.optim.Adam) is torch.optim.Adam
