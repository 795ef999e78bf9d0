"""Optimisers: elements out of use are left alone, the others are moved as by torch's own."""

import copy
import math

import pytest
import torch
from torch import nn

from dyn_lightning.dynamize import dynamize
from dyn_lightning.errors import SettingError
from dyn_lightning.features.spectral import LogCompression, MelFilterBank
from dyn_lightning.optim import (
    clip_gradients,
    forget,
    make_optimizer,
    make_schedule,
    narrowing,
    parameter_groups,
    unused,
    unused_blocks,
    width_parameters,
)
from dyn_lightning.widths.width import Width
from experiments.peers.gates import HardConcreteGates


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(5, 8)
            self.gru = nn.GRU(8, 6, batch_first=True)
            self.last = nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.gru(torch.relu(self.first(x)))[0])

    return dynamize(Net(), torch.zeros(1, 4, 5))


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(3, 4, 5, generator=generator)
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()


def set_sizes(net: nn.Module, lam: float) -> None:
    for width in net.widths.values():
        width.set_learning(False)
        width.set_lam(lam)


FACTORIES = {
    "adamw": lambda groups: torch.optim.AdamW(groups),
    "sgd": lambda groups: torch.optim.SGD(groups, momentum=0.9),
}


@pytest.mark.parametrize("name", FACTORIES)
def test_unused_elements_are_neither_decayed_nor_moved_by_momentum(name):
    net = network()
    optimizer = make_optimizer(net, FACTORIES[name], lr=0.1, weight_decay=0.1, lr_lam=0.0)
    train(net, optimizer, 3)  # momentum on everything
    set_sizes(net, 0.5)
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    train(net, optimizer, 3)
    gates = torch.arange(18).reshape(3, 6)
    used = {
        "first.weight": [range(4), range(5)],
        "first.bias": [range(4)],
        "gru.weight_ih_l0": [gates[:, :3].flatten().tolist(), range(4)],
        "gru.weight_hh_l0": [gates[:, :3].flatten().tolist(), range(3)],
        "gru.bias_ih_l0": [gates[:, :3].flatten().tolist()],
        "last.weight": [range(2), range(3)],
        "last.bias": [range(2)],
    }
    for key, positions in used.items():
        mask = torch.zeros_like(before[key], dtype=torch.bool)
        mask[torch.meshgrid(*(torch.tensor(list(p)) for p in positions), indexing="ij")] = True
        after = net.get_parameter(key)
        assert torch.equal(after[~mask], before[key][~mask]), key
        assert (after[mask] != before[key][mask]).all(), key


@pytest.mark.parametrize("lam", [1.0, 0.5])
def test_elements_in_use_move_as_under_the_plain_optimizer(lam):
    net, reference = network(), network()
    for one in (net, reference):
        set_sizes(one, lam)
    train(net, make_optimizer(net, torch.optim.AdamW, lr=0.01, weight_decay=0.1, lr_lam=0.0), 4)
    train(reference, torch.optim.AdamW(reference.parameters(), lr=0.01, weight_decay=0.1), 4)
    x = torch.randn(2, 4, 5)
    torch.testing.assert_close(net(x), reference(x), rtol=1e-6, atol=1e-7)
    if lam == 1.0:
        for one, other in zip(net.parameters(), reference.parameters(), strict=True):
            assert torch.equal(one, other)


def test_where_a_width_is_resampled_the_whole_weight_is_in_use():
    torch.manual_seed(0)
    plain = nn.Sequential(MelFilterBank(33, 8), LogCompression(), nn.Conv1d(8, 3, 1))
    net = dynamize(plain, torch.rand(2, 33, 4), dynamic=["0"])
    assert net.widths["0"].resampled
    set_sizes(net, 0.5)
    before = net[2].weight.detach().clone()
    optimizer = make_optimizer(net, torch.optim.SGD, lr=0.1, weight_decay=0.0, lr_lam=0.0)
    net(torch.rand(2, 33, 4)).square().mean().backward()
    gradient = net[2].weight.grad
    assert (gradient != 0).all()
    optimizer.step()
    torch.testing.assert_close(net[2].weight, before - 0.1 * gradient)


def test_parameter_groups_hold_every_parameter_once_and_no_decay_for_lam():
    net = network()
    weights, lam = parameter_groups(net, lr=1e-3, weight_decay=0.1, lr_lam=5e-3)
    assert (weights["weight_decay"], lam["weight_decay"]) == (0.1, 0.0)
    assert (weights["lr"], lam["lr"]) == (1e-3, 5e-3)
    ids = [id(p) for g in (weights, lam) for p in g["params"]]
    assert sorted(ids) == sorted(id(p) for p in net.parameters())
    assert {id(w.theta) for w in net.widths.values()} == {id(p) for p in lam["params"]}
    assert len(parameter_groups(nn.Linear(2, 2), lr=1e-3, weight_decay=0.0, lr_lam=1.0)) == 1


@pytest.mark.parametrize(
    ("used", "shape"),
    [
        ([[0, 1]], (4,)),
        ([[0, 1, 4, 5], [0, 2]], (8, 3)),
        ([[1, 3], [0, 1, 2], [2]], (4, 3, 4)),
        ([[0, 1], [0, 1, 2]], (2, 3)),
    ],
)
def test_unused_blocks_cover_the_complement_exactly(used, shape):
    expected = torch.ones(shape)
    expected[torch.meshgrid(*(torch.tensor(u) for u in used), indexing="ij")] = 0
    count = torch.zeros(shape)
    for block in unused_blocks([torch.tensor(u) for u in used], shape):
        count[block] += 1
    assert torch.equal(count, expected)


@pytest.mark.parametrize("most_blocks", [0, 10**6])
def test_elements_kept_here_and_there_learn_and_the_others_stay(monkeypatch, most_blocks):
    monkeypatch.setattr(unused, "MOST_BLOCKS", most_blocks)
    torch.manual_seed(0)
    net = dynamize(
        nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 2)), torch.randn(1, 5), width_class=HardConcreteGates
    )
    optimizer = make_optimizer(net, torch.optim.Adam, lr=0.1, weight_decay=0.5, lr_lam=0.0)
    (width,) = net.widths.values()

    def step():
        optimizer.zero_grad()
        net.train()(torch.randn(8, 5)).square().mean().backward()
        optimizer.step()

    step()  # so that all have momentum
    with torch.no_grad():
        width.theta.copy_(torch.tensor([3.0, -3.0] * 6))
    width.freeze(6)
    assert width.positions(6).tolist() == [0, 2, 4, 6, 8, 10]
    before = [x.detach().clone() for x in (net[0].weight, net[0].bias, net[2].weight)]
    step()
    first, bias, second = (a != b for a, b in zip((net[0].weight, net[0].bias, net[2].weight), before, strict=True))
    kept = torch.tensor([True, False] * 6)
    assert torch.equal(first, kept[:, None].expand(12, 5))
    assert torch.equal(bias, kept)
    assert torch.equal(second, kept.expand(2, 12))


def test_cosine_reaches_zero_for_weights_and_leaves_lam_alone():
    net = network()
    optimizer = make_optimizer(net, torch.optim.SGD, lr=0.5, weight_decay=0.0, lr_lam=0.25)
    schedule = make_schedule(optimizer, "cosine", 10)
    for step in range(1, 11):
        optimizer.step()
        schedule.step()
        weights, lam = (g["lr"] for g in optimizer.param_groups)
        assert weights == pytest.approx(0.5 * 0.5 * (1 + math.cos(math.pi * step / 10)), abs=1e-12)
        assert lam == 0.25


@pytest.mark.parametrize(("growth", "factor"), [(0.0, 1.0), (1.0, 4.0), (0.5, 2.0)])
def test_the_rate_of_the_weights_grows_as_the_sizes_shrink(growth, factor):
    net = network()
    optimizer = make_optimizer(net, torch.optim.SGD, lr=0.5, weight_decay=0.0, lr_lam=0.25)
    widths = [Width(16), Width(64)]
    schedule = make_schedule(optimizer, "constant", 10, widths=widths, growth=growth)
    assert optimizer.param_groups[0]["lr"] == 0.5
    widths[0].freeze(2)
    widths[1].freeze(32)
    assert narrowing(widths) == pytest.approx(4.0)  # of 8 and 2 the geometric mean
    optimizer.step()
    schedule.step()
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.5 * factor, 0.25])


def test_a_network_without_widths_is_not_narrower():
    assert narrowing([]) == narrowing([], 3) == 1.0


def test_sizes_that_are_not_learned_count_as_they_are():
    widths = [Width(16), Width(64)]
    widths[0].freeze(2)
    widths[1].freeze(32)
    assert narrowing(widths, n_whole=2) == pytest.approx(2.0)  # of 8, 2, 1 and 1


def test_unknown_schedule_is_named():
    optimizer = make_optimizer(network(), torch.optim.SGD, lr=0.5, weight_decay=0.0, lr_lam=0.25)
    with pytest.raises(ValueError, match="cosine or constant"):
        make_schedule(optimizer, "linear", 10)


def test_clipping_keeps_the_groups_apart():
    net = network()
    optimizer = make_optimizer(net, torch.optim.SGD, lr=0.5, weight_decay=0.0, lr_lam=0.25)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    for theta in width_parameters(net):
        theta.grad = torch.tensor(1e6)
    before = copy.deepcopy([p.grad for p in optimizer.param_groups[0]["params"]])
    clip_gradients(optimizer, None, 0.1)
    for parameter, grad in zip(optimizer.param_groups[0]["params"], before, strict=True):
        assert torch.equal(parameter.grad, grad)
    norm = torch.stack([t.grad for t in width_parameters(net)]).norm()
    assert norm.item() == pytest.approx(0.1, rel=1e-4)


def test_forget_drops_momentum():
    net = network()
    optimizer = make_optimizer(net, torch.optim.Adam, lr=0.1, weight_decay=0.0, lr_lam=0.1)
    for theta in width_parameters(net):
        theta.grad = torch.ones(())
    optimizer.step()
    moved = [t.item() for t in width_parameters(net)]
    forget(optimizer, width_parameters(net))
    optimizer.step()
    assert [t.item() for t in width_parameters(net)] == moved


def test_weights_are_clipped_by_value_and_lam_by_its_own_norm():
    net = network()
    optimizer = make_optimizer(net, torch.optim.SGD, lr=0.1, weight_decay=0.0, lr_lam=0.1)
    weights, lam = optimizer.param_groups
    for group in (weights, lam):
        for i, p in enumerate(group["params"]):
            p.grad = torch.full_like(p, (-1) ** i * 3.0)
    clip_gradients(optimizer, 0.5, 1.0, "value")
    assert all(torch.equal(p.grad.abs(), torch.full_like(p, 0.5)) for p in weights["params"])
    norm = torch.stack([p.grad for p in lam["params"]]).norm()
    assert norm.item() == pytest.approx(1.0, rel=1e-4)


def test_a_schedule_waits_until_the_length_is_known():
    net, known = network(), [None]
    optimizer = make_optimizer(net, torch.optim.SGD, lr=1.0, weight_decay=0.0, lr_lam=0.1)
    schedule = make_schedule(optimizer, "cosine", lambda: known[0])
    rates = []
    for step in range(10):
        if step == 3:
            known[0] = 10
        optimizer.step()
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    expected = [1.0] * 3 + [0.5 * (1 + math.cos(math.pi * s / 10)) for s in range(4, 11)]
    assert rates == pytest.approx(expected, abs=1e-9)


def test_an_optimizer_without_groups_is_refused_in_one_line():
    with pytest.raises(SettingError, match="LBFGS does not take the groups"):
        make_optimizer(network(), torch.optim.LBFGS, lr=0.1, weight_decay=0.0, lr_lam=0.1)
