"""Reordering: the function stays, the least important go last, and optimiser state moves along."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.dynamize import dynamize
from dyn_lightning.features.spectral import LogCompression, MelFilterBank
from dyn_lightning.network.dynamic import run_in_eval
from dyn_lightning.network.reorder import importance, reorder, reorderable


class LastStep(nn.Module):
    def forward(self, x: Any) -> Tensor:
        return x[0][:, -1]


def conv_batch_norm() -> tuple[nn.Module, Tensor]:
    net = nn.Sequential(
        nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), nn.PReLU(8), nn.Conv1d(8, 8, 3, groups=8), nn.Conv1d(8, 2, 1)
    )
    return net, torch.randn(4, 3, 12)


def bidirectional_gru() -> tuple[nn.Module, Tensor]:
    net = nn.Sequential(nn.Linear(3, 6), nn.GRU(6, 5, 2, bidirectional=True, batch_first=True), LastStep())
    return nn.Sequential(net, nn.Linear(10, 2)), torch.randn(4, 7, 3)


def group_norm() -> tuple[nn.Module, Tensor]:
    net = nn.Sequential(nn.Conv1d(3, 12, 3), nn.GroupNorm(3, 12), nn.ReLU(), nn.Conv1d(12, 2, 1))
    return net, torch.randn(4, 3, 9)


def flatten() -> tuple[nn.Module, Tensor]:
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 15, 7), nn.ReLU(), nn.Linear(7, 2))
    return net, torch.randn(4, 1, 5, 7)


NETS = {f.__name__: f for f in (conv_batch_norm, bidirectional_gru, group_norm, flatten)}


def make(name: str) -> tuple[Any, Tensor]:
    torch.manual_seed(0)
    net, example = NETS[name]()
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.GroupNorm, nn.PReLU)):
            for tensor in (*module.parameters(), *module.buffers()):
                if tensor.dim():
                    nn.init.uniform_(tensor, 0.5, 2.0)
    return dynamize(net, example), example


def random_scores(net: Any) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)
    return {name: torch.rand(width.full_size, generator=generator) for name, width in net.widths.items()}


@pytest.mark.parametrize("multiple_of", [1, 2])
@pytest.mark.parametrize("name", NETS)
def test_the_function_stays_and_the_elements_move(name: str, multiple_of: int) -> None:
    net, x = make(name)
    for width in net.widths.values():
        width.limit(multiple_of=multiple_of)
    before, state = run_in_eval(net, x), copy.deepcopy(net.state_dict())
    reorder(net, random_scores(net))
    for one, other in zip(run_in_eval(net, x), before, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    moved = [key for key, value in net.state_dict().items() if not torch.equal(value, state[key])]
    learned = {key for key in state if key.endswith(("weight", "weight_hh_l0", "running_mean"))}
    assert learned & set(moved)
    assert not any(key.startswith("widths.") for key in moved)


def test_units_go_by_falling_importance_as_a_whole() -> None:
    net = dynamize(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), torch.randn(1, 3))
    net.widths["0"].limit(multiple_of=2)
    bias = net[0].bias.detach().clone()
    # units (0, 1) and (2, 3); the fifth element is no whole unit and stays last, whatever its worth
    reorder(net, {"0": torch.tensor([3.0, 0.0, 1.0, 2.5, 9.0])})
    assert torch.equal(net[0].bias, bias[[2, 3, 0, 1, 4]])


def test_groups_move_alike() -> None:
    net, _ = make("group_norm")
    bias = net[0].bias.detach().clone()
    assert net.widths["0"].full_size == 4  # the channels of each of three groups
    reorder(net, {"0": torch.tensor([0.0, 0.0, 2.0, 1.0])})
    assert torch.equal(net[0].bias.view(3, 4), bias.view(3, 4)[:, [2, 3, 0, 1]])


@pytest.mark.parametrize("name", ["conv_batch_norm", "bidirectional_gru", "flatten"])
def test_an_optimizers_moments_move_along(name: str) -> None:
    (first, x), (last, _) = make(name), make(name)
    scores = random_scores(first)

    def step(net: Any, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()

    optimizers = []
    for net in (first, last):
        for width in net.widths.values():
            width.set_learning(False)
        optimizers.append(torch.optim.Adam(net.parameters(), lr=0.01, amsgrad=True, eps=1e-3))
        for _ in range(3):
            step(net, optimizers[-1])
    reorder(first, scores, optimizers[0])
    step(first, optimizers[0])
    step(last, optimizers[1])
    reorder(last, scores, optimizers[1])
    for (key, one), other in zip(first.state_dict().items(), last.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=lambda m, key=key: f"{key}: {m}")
    for one, other in zip(first.parameters(), last.parameters(), strict=True):
        for key, value in optimizers[0].state.get(one, {}).items():
            torch.testing.assert_close(value, optimizers[1].state[other][key], rtol=1e-3, atol=1e-6)


def linear_net() -> tuple[Any, Tensor, Tensor]:
    torch.manual_seed(0)
    net = dynamize(nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3)), torch.randn(1, 4))
    return net.train(), torch.randn(10, 4), torch.randn(10, 3)


def test_importance_in_closed_form() -> None:
    net, x, target = linear_net()
    net.widths["0"].set_learning(False)
    batches = [(x[:4], target[:4]), (x[4:], target[4:])]
    scores = importance(net, (lambda b=b: (net(b[0]) - b[1]).square().mean() for b in batches))
    hidden = net[0](x)
    # d/dg of (Σ_o (Σ_i w_oi h_i g_i + b_o − t_o)²) / 3, for each sample
    derivative = 2 / 3 * ((net[1](hidden) - target) @ net[1].weight) * hidden
    torch.testing.assert_close(scores["0"], derivative.square().sum(0))
    assert not scores["0"].requires_grad


def test_importance_sums_over_the_directions_of_a_recurrent_layer() -> None:
    torch.manual_seed(0)
    net = dynamize(nn.Sequential(nn.GRU(3, 4, bidirectional=True, batch_first=True), LastStep()),
                   torch.randn(2, 5, 3), free_outputs=True)  # fmt: skip
    net.widths["0-l0"].set_learning(False)
    x, weights = torch.randn(6, 5, 3), torch.randn(8)
    scores = importance(net, [lambda: (net(x) @ weights).mean()])
    derivative = (net(x) * weights).view(6, 2, 4).sum(1)
    torch.testing.assert_close(scores["0-l0"], derivative.square().sum(0))


def test_importance_ends_with_the_element_that_nobody_reads() -> None:
    net, x, target = linear_net()
    net.widths["0"].set_learning(False)
    with torch.no_grad():
        net[1].weight[:, 2] = 0.0
    dead = net[0].bias[2].item()
    scores = importance(net, [lambda: (net(x) - target).square().mean()])
    assert scores["0"].argmin() == 2
    assert scores["0"][2] == 0.0
    reorder(net, scores)
    assert net[0].bias[-1].item() == dead
    assert (net[1].weight[:, -1] == 0).all()
    again = importance(net, [lambda: (net(x) - target).square().mean()])["0"]
    torch.testing.assert_close(again, scores["0"].sort(descending=True).values)


def test_importance_leaves_nothing_behind() -> None:
    net, x, target = linear_net()
    net.widths["0"].set_learning(False)
    gradients = [torch.full_like(p, 3.0) for p in net.parameters()]
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        parameter.grad = gradient.clone()
    importance(net, [lambda: (net(x) - target).square().mean()])
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), gradients, strict=True))

    def fails() -> Tensor:
        net(x)
        raise RuntimeError("no loss")

    with pytest.raises(RuntimeError, match="no loss"):
        importance(net, [fails])
    assert net.widths["0"].probes is None


def test_resampled_widths_are_left_alone() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(MelFilterBank(33, 8), LogCompression(), nn.Conv1d(8, 4, 1), nn.Conv1d(4, 2, 1))
    x = torch.rand(3, 33, 5)
    net = dynamize(plain, x)
    for width in net.widths.values():
        width.set_learning(False)
    assert net.widths["0"].resampled
    assert set(reorderable(net)) == set(importance(net, [lambda: net(x).mean()])) == {"2"}
    weight, bands = net[2].weight.detach().clone(), net[0].fb.clone()
    reorder(net, {"2": torch.tensor([0.0, 1.0, 2.0, 3.0])})
    assert torch.equal(net[2].weight, weight.flip(0))
    assert torch.equal(net[0].fb, bands)

    alone = dynamize(plain, x, dynamic=["0"])
    assert importance(alone, [lambda: alone(x).mean()]) == {}
    reorder(alone, {})


def test_ranked_bands_move_with_what_reads_them() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(MelFilterBank(33, 8), LogCompression(), nn.Conv1d(8, 2, 1))
    x = torch.rand(3, 33, 5)
    net = dynamize(plain, x, mel_spacing="ranked")
    before = net.eval()(x)
    reorder(net, {"0": torch.arange(8.0)})
    assert torch.equal(net[0].fb, plain[0].fb.flip(1))
    torch.testing.assert_close(net(x), before)
