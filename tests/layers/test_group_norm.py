import pytest
import torch
from torch import nn

from dyn_lightning.layers import GroupNorm
from dyn_lightning.widths.layout import Layout
from dyn_lightning.widths.width import Width


def _x(*shape: int) -> torch.Tensor:
    return 2.0 * torch.randn(*shape) + torch.arange(shape[1])[(None, ...) + (None,) * (len(shape) - 2)]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("affine", [True, False])
def test_group_norm(contract, groups: int, affine: bool) -> None:
    contract(
        nn.GroupNorm(groups, 16, affine=affine),
        lambda a: {"in_width": Layout(4, a)},
        [4],
        lambda a: (_x(3, 4 * a, 5),),
    ).check()


def test_group_norm_keeps_each_channel_in_its_group() -> None:
    width = Width(4)
    layer, x = GroupNorm(2, 8, in_width=Layout(2, width)), torch.randn(3, 8, 5)
    width.freeze(3)
    kept = x[:, [0, 1, 2, 4, 5, 6]]
    parts = [
        (part - part.mean((1, 2), keepdim=True)) / (part.var((1, 2), correction=0, keepdim=True) + 1e-5).sqrt()
        for part in kept.chunk(2, 1)
    ]
    expected = torch.cat(parts, 1)
    torch.testing.assert_close(layer(kept), expected)


def test_group_norm_needs_a_width_in_groups() -> None:
    for size in (Width(8), Layout(Width(4), 2), Layout(Width(2), Width(4))):
        with pytest.raises(ValueError, match=r"2 groups need in_width=Layout\(2, …\)"):
            GroupNorm(2, 8, in_width=size)


def test_a_group_for_each_channel(contract) -> None:
    for affine in (True, False):
        contract(nn.GroupNorm(8, 8, affine=affine), lambda a: {"in_width": a}, [8], lambda a: (_x(3, a, 5),)).check()
    width = Width(8)
    layer, plain = GroupNorm(8, 8, in_width=width), nn.GroupNorm(8, 8)
    width.freeze(5)
    x = _x(3, 8, 6)
    torch.testing.assert_close(layer(x[:, :5]), plain(x)[:, :5])
    small = layer.to_plain()
    assert (small.num_groups, small.num_channels) == (5, 5)
