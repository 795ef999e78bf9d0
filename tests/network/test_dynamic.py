import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.dynamize import dynamize
from dyn_lightning.errors import SettingError
from dyn_lightning.layers import Linear
from dyn_lightning.network.dynamic import (
    dynamic_layers,
    learned_tensors,
    plain_copy,
    replace_modules,
    run_in_eval,
    shallow_copy,
)
from dyn_lightning.network.overlay import Bare, Number
from dyn_lightning.widths.layout import Layout
from dyn_lightning.widths.width import Width


class Own(nn.Module):
    """A gain, a buffer and an attribute of the size that a layer makes, and a matrix that makes one itself."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = 8
        self.up = nn.Linear(3, 8)
        self.gain = nn.Parameter(torch.rand(8) + 0.5)
        self.register_buffer("shift", torch.randn(1, 8))
        self.mix = nn.Parameter(torch.randn(6, 8))
        self.down = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = (self.up(x) * self.gain + self.shift).view(-1, self.hidden)
        return self.down(torch.tanh(nn.functional.linear(y, self.mix)))


@pytest.fixture
def own() -> Any:
    torch.manual_seed(0)
    return dynamize(Own(), torch.randn(4, 3))


def storages(network: nn.Module) -> set[int]:
    return {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers()) if t.numel()}


def test_bare_parameters_and_numbers_follow(own) -> None:
    assert {b.name for b in own.bare} == {"gain", "shift", "mix"}
    assert {n.name for n in own.numbers} == {"hidden"}
    x = torch.randn(4, 3)
    up, mix = own.widths.values()
    up.freeze(5)
    mix.freeze(4)
    y = (own.up(x) * own.gain[:5] + own.shift[:, :5]) @ own.mix[:4, :5].T
    torch.testing.assert_close(own(x), torch.tanh(y) @ own.down.weight[:, :4].T + own.down.bias)
    assert own.gain.shape == (8,)
    assert own.hidden == 8
    assert "gain" not in vars(own)


def test_a_bare_parameter_that_makes_a_size_bears_its_noise(own) -> None:
    mix = next(b for b in own.bare if b.name == "mix")
    gain = next(b for b in own.bare if b.name == "gain")
    assert (mix.makes, gain.makes) == ((0,), ())
    width = mix.dims[0].simple
    width.set_lam(0.75)  # 4.5 of 6
    noisy = mix.noisy()
    assert (noisy == mix.cut()).all(1).tolist() == [True] * 4 + [False]
    noisy.square().sum().backward()
    assert width.theta.grad != 0
    assert torch.equal(gain.noisy(), gain.cut())
    assert mix.cut(kept=True).shape == (4, 8)


def test_what_is_put_in_place_goes_again_after_an_error(own) -> None:
    own.widths["up"].freeze(5)
    with pytest.raises(RuntimeError):
        own(torch.randn(4, 7))
    assert "gain" not in vars(own)
    assert own.hidden == 8


def test_bare_and_number_by_themselves() -> None:
    module, width = nn.Module(), Width(6)
    module.register_parameter("table", nn.Parameter(torch.randn(4, 6)))
    module.register_buffer("mask", torch.ones(6))
    module.sizes, module.n = (4, 6), 6
    width.freeze(2)
    layout = Layout(width)
    assert torch.equal(Bare(module, "table", (None, layout)).cut(), module.table[:, :2])
    assert Bare(module, "mask", (layout,)).cut().shape == (2,)
    Number(module, "sizes", 1, layout).set(layout.size)
    Number(module, "n", None, layout).set(layout.size)
    assert (module.sizes, module.n) == ((4, 2), 2)


def test_plain_copy_leaves_the_dynamic_network_alone(own) -> None:
    for width, lam in zip(own.widths.values(), (0.6, 0.7), strict=True):
        width.set_lam(lam)
    state = {k: v.clone() for k, v in own.state_dict().items()}
    parameters = dict(own.named_parameters())
    small = plain_copy(own)
    assert type(small) is Own
    assert small.hidden == 4
    assert (small.gain.shape, small.mix.shape) == ((4,), (4, 4))
    assert not storages(small) & storages(own)
    with torch.no_grad():
        for tensor in (*small.parameters(), *small.buffers()):
            tensor.zero_()
    assert all(torch.equal(v, state[k]) for k, v in own.state_dict().items())
    assert all(p is parameters[n] for n, p in own.named_parameters())
    assert own.hidden == 8
    assert set(vars(small)) == set(vars(Own()))


def test_plain_copy_keeps_mode_and_frozen_parameters(own) -> None:
    own.eval()
    own.gain.requires_grad_(False)
    own.up.weight.requires_grad_(False)
    small = plain_copy(own)
    assert not small.training
    assert [n for n, p in small.named_parameters() if not p.requires_grad] == ["gain", "up.weight"]
    assert isinstance(small.gain, nn.Parameter)
    assert not isinstance(small.shift, nn.Parameter)


def test_tied_weights_stay_tied() -> None:
    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.read = nn.Embedding(11, 8), nn.Linear(8, 11, bias=False)
            self.read.weight = self.table.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.read(torch.tanh(self.table(x)))

    x = torch.randint(11, (2, 5))
    dynamic = dynamize(Language(), x)
    assert dynamic.read.weight is dynamic.table.weight
    dynamic.widths["table"].freeze(3)
    small = plain_copy(dynamic)
    assert small.read.weight is small.table.weight
    assert small.table.weight.shape == (11, 3)
    torch.testing.assert_close(small(x), dynamic(x))
    assert dynamic.complexity.parameters_now() == sum(p.numel() for p in small.parameters()) == 33
    twin = copy.deepcopy(dynamic)
    assert twin.read.weight is twin.table.weight


def test_containers_do_not_count_their_widths() -> None:
    x = torch.randn(2, 3)
    net = dynamize(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), x)
    assert len(net) == len(list(net)) == 2
    assert isinstance(net[-1], nn.Linear)

    class Pair(nn.ModuleDict):
        def forward(self, x: Tensor) -> Tensor:
            for layer in self.values():
                x = layer(x)
            return x

    pair = dynamize(Pair({"a": nn.Linear(3, 4), "b": nn.Linear(4, 2)}), x)
    assert list(pair) == list(pair.keys()) == [k for k, _ in pair.items()] == ["a", "b"]
    assert len(pair) == len(pair.values()) == 2
    assert list(pair.widths) == ["a"]
    assert list(plain_copy(pair)) == ["a", "b"]


def test_the_table(own) -> None:
    own.widths["up"].freeze(5)
    title, head, up, mix = repr(own).splitlines()
    assert title == "Own with 2 learned sizes"
    assert head.split()[:3] == ["size", "now", "N"]
    name, now, full, maker, *_ = up.split()
    assert (name, now, full, maker) == ("up", "5", "8", "up")
    assert mix.split()[:3] == ["mix-0", "6", "6"]  # dimension 0 of the parameter
    share = float(up.split()[-1])
    cost = own.complexity
    expected = 100 * (1 - cost.flops_at({"up": 0, "mix-0": 6}) / cost.flops_full_size())
    assert share == pytest.approx(expected, abs=0.05)


def test_many_makers_are_counted() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.three = (nn.Linear(3, 4) for _ in range(3))
            self.out = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.one(x) + self.two(x) + self.three(x))

    assert "one, two and 1 more" in repr(dynamize(Sum(), torch.randn(2, 3)))


def test_shallow_copies_share_tensors_and_nothing_else() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    twin = shallow_copy(net)
    assert twin[0] is not net[0]
    assert all(a is b for a, b in zip(twin.parameters(), net.parameters(), strict=True))
    assert twin[1].running_mean is net[1].running_mean
    twin[0].out_features = 9
    assert net[0].out_features == 4


def test_weights_that_a_hook_has_computed_can_be_copied() -> None:
    with pytest.warns(FutureWarning):
        net = nn.Sequential(nn.Linear(3, 4), nn.utils.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 2))
    x = torch.randn(2, 3)
    expected = net(x)  # leaves a weight that is no leaf
    torch.testing.assert_close(shallow_copy(net)(x), expected)
    dynamic = dynamize(net, x, dynamic=["0"])
    dynamic(x)
    torch.testing.assert_close(run_in_eval(copy.deepcopy(dynamic), x)[0], expected)


def test_replace_modules_everywhere() -> None:
    layer = nn.Linear(3, 3)
    net = nn.Sequential(layer, nn.Sequential(layer))
    new = nn.ReLU()
    replace_modules(net, {layer: new})
    assert net[0] is new
    assert net[1][0] is new


def test_run_in_eval_puts_modes_back() -> None:
    net = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(3)).train()
    net[1].eval()
    x = torch.randn(5, 3)
    mean = net[1].running_mean.clone()
    (y,) = run_in_eval(net, x)
    assert not y.requires_grad
    torch.testing.assert_close(y, x / (1 + 1e-5) ** 0.5)
    assert [m.training for m in net.modules()] == [True, True, False]
    assert torch.equal(net[1].running_mean, mean)


def test_learned_tensors_come_once(own) -> None:
    found = list(learned_tensors(own))
    names = {id(t): n for n, t in (*own.named_parameters(), *own.named_buffers())}
    assert sorted(names[id(t)] for t, _ in found) == sorted(
        ["up.weight", "up.bias", "gain", "shift", "mix", "down.weight"]
    )
    assert all(len(dims) == t.dim() for t, dims in found)
    assert set(dynamic_layers(own)) == {"up", "down"}
    assert all(isinstance(layer, Linear) for layer in dynamic_layers(own).values())


@pytest.mark.parametrize("place", ["itself", "within a module"])
def test_norms_that_are_converted_by_hand_are_one_error(place):
    inner = nn.Sequential(nn.Conv1d(4, 8, 3), nn.BatchNorm1d(8))
    network = dynamize(nn.Sequential(inner, nn.ReLU(), nn.Conv1d(8, 2, 3)), torch.randn(3, 4, 20))
    whole = network if place == "itself" else nn.ModuleList([network])
    with pytest.raises(SettingError, match=r"convert_sync_batchnorm replaces 0\.1, .* make the network dynamic anew"):
        nn.SyncBatchNorm.convert_sync_batchnorm(whole)


def test_norms_that_were_synchronised_before_stay():
    plain = nn.SyncBatchNorm.convert_sync_batchnorm(
        nn.Sequential(nn.Conv1d(4, 8, 3), nn.BatchNorm1d(8), nn.Conv1d(8, 2, 3))
    )
    network = dynamize(plain, torch.randn(3, 4, 20))
    x = torch.randn(3, 4, 20)
    before = run_in_eval(network, x)[0]
    torch.testing.assert_close(run_in_eval(nn.SyncBatchNorm.convert_sync_batchnorm(network), x)[0], before)
