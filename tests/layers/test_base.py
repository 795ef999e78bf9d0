import copy
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.layers import DYNAMIC_LAYERS, Conv1d, Conv2d, Linear
from dyn_lightning.layers.base import used_positions
from dyn_lightning.widths import BOUNDARIES
from dyn_lightning.widths.layout import Layout
from dyn_lightning.widths.width import Width


def test_every_dynamic_layer_is_its_plain_one() -> None:
    for plain, dynamic in DYNAMIC_LAYERS.items():
        assert issubclass(dynamic, plain)
        assert dynamic.plain_class is plain
        assert dynamic.__name__ == plain.__name__


def test_a_width_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Linear.weight has 8 .*dimension 0, its width 9"):
        Linear(4, 8, out_width=Width(9))
    with pytest.raises(ValueError, match="dimension 1"):
        Linear(40, 8, in_width=Layout(Width(4), 9))


def test_from_plain_leaves_the_plain_layer_and_shares_its_parameters() -> None:
    plain, width = nn.Linear(4, 8), Width(8)
    layer = Linear.from_plain(plain, out_width=width)
    assert type(plain) is nn.Linear
    assert layer.weight is plain.weight
    width.freeze(3)
    assert plain(torch.randn(2, 4)).shape == (2, 8)
    layer.weight = nn.Parameter(torch.zeros(8, 4))
    assert not torch.equal(plain.weight, layer.weight)


def test_widths_are_no_submodules_and_turn_with_the_layer() -> None:
    width = Width(8)
    layer = Linear(4, 8, out_width=width)
    assert list(layer.children()) == []
    layer.eval()
    assert not width.training
    layer.train()
    assert width.training


def test_deepcopy_takes_the_widths_along() -> None:
    width = Width(8)
    pair = nn.ModuleList([Linear(4, 8, out_width=width), Linear(8, 2, in_width=width)])
    twin = copy.deepcopy(pair)
    twin[0].out_width.simple.freeze(3)
    assert twin[1](twin[0](torch.randn(2, 4))).shape == (2, 2)
    assert width.size == 8


def test_widths_are_listed_once() -> None:
    a, b = Width(4), Width(3)
    assert Linear(12, 4, out_width=a, in_width=Layout(a, b)).widths() == [a, b]


def test_to_plain_keeps_hooks_mode_and_frozen_parameters() -> None:
    width = Width(8)
    layer = Linear(4, 8, out_width=width).eval()
    layer.weight.requires_grad_(False)
    calls = []
    layer.register_forward_hook(lambda *_: calls.append(1))
    width.set_lam(0.5)
    small = layer.to_plain()
    assert type(small) is nn.Linear
    assert (small.out_features, small.in_features, small.training) == (4, 4, False)
    assert not small.weight.requires_grad
    assert small.bias.requires_grad
    small(torch.randn(1, 4))
    assert calls == [1]
    with torch.no_grad():
        small.weight.zero_()
    assert layer.weight.abs().sum() > 0


def test_used_positions() -> None:
    width = Width(8)
    layer = Conv1d(8, 4, 3, in_width=width)
    assert used_positions(layer.weight.shape, layer.layouts()["weight"]) is None
    width.freeze(3)
    mask = used_positions(layer.weight.shape, layer.layouts()["weight"])
    assert mask is not None
    assert [m.tolist() for m in mask] == [[0, 1, 2, 3], [0, 1, 2], [0, 1, 2]]
    assert used_positions(layer.bias.shape, layer.layouts()["bias"]) is None


def test_used_positions_are_all_where_elements_are_interpolated() -> None:
    width = Width(8, resampled=True)
    layer = Conv1d(8, 4, 3, in_width=width)
    width.freeze(3)
    assert used_positions(layer.weight.shape, layer.layouts()["weight"]) is None
    out = Width(4)
    both = Conv1d(8, 4, 3, in_width=width, out_width=out)
    out.freeze(2)
    mask = used_positions(both.weight.shape, both.layouts()["weight"])
    assert mask is not None
    assert [m.tolist() for m in mask] == [[0, 1], list(range(8)), [0, 1, 2]]


IN_PLACE = {
    "linear": (lambda out: Linear(6, out.full_size, out_width=out), (5, 7, 6)),
    "linear, no batch": (lambda out: Linear(6, out.full_size, bias=False, out_width=out), (6,)),
    "conv1d": (lambda out: Conv1d(6, out.full_size, 3, out_width=out), (4, 6, 9)),
    "conv1d, no batch": (lambda out: Conv1d(6, out.full_size, 3, out_width=out), (6, 9)),
    "conv2d": (lambda out: Conv2d(6, out.full_size, 3, bias=False, out_width=out), (4, 6, 5, 9)),
}


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("lam", [1.0, 0.85, 0.3])
@pytest.mark.parametrize("parts", [(8,), (3, 8), (8, 5), (4, 6)])
@pytest.mark.parametrize("name", IN_PLACE)
def test_noise_in_place_is_the_noise_on_a_copy(name: str, parts: tuple[int, ...], lam: float, boundary: str) -> None:
    """Values and all gradients: weights that fade and noise written into the product, against the plain formula."""
    torch.manual_seed(0)
    make, shape = IN_PLACE[name]
    learned = [8] if 8 in parts else list(parts)
    widths = {n: Width(n, boundary=boundary) for n in learned}
    out = Layout(*(widths.get(n, n) for n in parts))
    layer, x = make(out), torch.randn(shape, requires_grad=True)
    for width in widths.values():
        width.set_lam(lam)
    leaves = [x, *layer.parameters(), *(w.theta for w in widths.values())]

    def run() -> list[Tensor]:
        torch.manual_seed(1)
        y = layer(x)
        return [y.detach().clone(), *torch.autograd.grad((y * torch.randn_like(y)).sum(), leaves)]

    assert layer.folds_noise
    found = run()
    with mock.patch.object(type(layer), "folds_noise", False):
        expected = run()
    if len(learned) == 2:  # the other width's fading of an element that has both noises is left out of θ's gradient
        found, expected = found[:-2], expected[:-2]
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_features_kept_for_others_are_not_written_into() -> None:
    """The product goes on to the noise alone, so two calls of one layer do not disturb each other's gradient."""
    width = Width(4)
    layer, x = Linear(3, 4, out_width=width), torch.randn(5, 3)
    width.set_lam(0.9)
    first, second = layer(x), layer(x)
    (first.square().sum() + second.square().sum()).backward()
    assert not torch.equal(first, second)
    torch.testing.assert_close(layer.bias.grad[:3], 2 * (first + second).sum(0)[:3])


def test_a_layer_bound_anew_cuts_by_its_new_widths() -> None:
    layer, first, second = Linear(4, 8, out_width=Width(8)), Width(4), Width(8)
    assert layer.cut("weight").shape == (8, 4)
    layer.bind(in_width=first, out_width=second)
    first.freeze(2)
    second.freeze(5)
    assert layer.cut("weight").shape == (5, 2)
    assert set(layer.to_plain().__dict__) == set(nn.Linear(2, 5).__dict__)
    twin = copy.deepcopy(layer)
    second.freeze(3)
    assert (layer.cut("weight").shape, twin.cut("weight").shape) == ((3, 2), (5, 2))
