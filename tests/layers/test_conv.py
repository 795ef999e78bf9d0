import pytest
import torch
from torch import nn

from dyn_lightning.layers import Conv1d
from dyn_lightning.widths.layout import Layout
from dyn_lightning.widths.width import Width


def _input(channels: int, spatial: int) -> torch.Tensor:
    return torch.randn(3, channels, *[11, 9, 3][:spatial])


CONVS = [
    nn.Conv1d(8, 12, 3),
    nn.Conv1d(8, 12, 3, stride=2, dilation=2, padding=2, bias=False),
    nn.Conv1d(8, 12, 3, padding="same"),
    nn.Conv2d(8, 12, (3, 2), stride=(2, 1)),
    nn.Conv2d(8, 12, 3, padding=(1, 2), padding_mode="reflect"),
    nn.Conv2d(8, 12, 3, padding=1, padding_mode="circular", dilation=(1, 2)),
    nn.Conv1d(8, 12, 3, padding=2, padding_mode="replicate"),
    nn.ConvTranspose1d(8, 12, 4, stride=3, padding=1, output_padding=2),
    nn.ConvTranspose2d(8, 12, (3, 4), stride=2, dilation=(2, 1), output_padding=1, bias=False),
    nn.Conv3d(8, 12, (2, 3, 1), stride=(1, 2, 1)),
    nn.ConvTranspose3d(8, 12, (2, 3, 1), stride=(1, 2, 1), output_padding=(0, 1, 0)),
]


@pytest.mark.parametrize("plain", CONVS, ids=str)
def test_both_sides(contract, plain) -> None:
    spatial = len(plain.kernel_size)
    contract(
        plain,
        lambda a, b: {"in_width": a, "out_width": b},
        [8, 12],
        lambda a, b: (_input(a, spatial),),
    ).check()


@pytest.mark.parametrize("plain", [nn.Conv1d(8, 12, 3), nn.ConvTranspose2d(8, 12, 3)], ids=str)
def test_one_side(contract, plain) -> None:
    spatial = len(plain.kernel_size)
    contract(plain, lambda b: {"out_width": b}, [12], lambda b: (_input(8, spatial),)).check()
    contract(plain, lambda a: {"in_width": Layout(2, a)}, [4], lambda a: (_input(2 * a, spatial),)).check()


@pytest.mark.parametrize(
    "plain",
    [
        nn.Conv1d(8, 8, 3, groups=8, padding=1),
        nn.Conv2d(8, 8, 3, groups=8, stride=2, bias=False),
        nn.ConvTranspose1d(8, 8, 3, groups=8, stride=2),
        nn.ConvTranspose2d(8, 8, 3, groups=8, output_padding=1, stride=2),
        nn.Conv3d(8, 8, 2, groups=8),
        nn.ConvTranspose3d(8, 8, 2, groups=8),
        nn.Conv1d(8, 24, 3, groups=8),
        nn.Conv2d(8, 16, (3, 1), groups=8, bias=False),
        nn.ConvTranspose1d(8, 24, 3, groups=8, stride=2),
    ],
    ids=str,
)
def test_depthwise_follows(contract, plain) -> None:
    spatial = len(plain.kernel_size)
    contract(plain, lambda a: {"in_width": a}, [8], lambda a: (_input(a, spatial),)).check()


@pytest.mark.parametrize(
    "plain",
    [
        nn.Conv1d(8, 12, 3, groups=2),
        nn.Conv1d(8, 12, 3, groups=4, bias=False, padding=1, padding_mode="circular"),
        nn.Conv2d(8, 12, 3, groups=2, stride=2),
        nn.ConvTranspose1d(8, 12, 3, groups=2, stride=2),
        nn.ConvTranspose2d(8, 12, 3, groups=4),
    ],
    ids=str,
)
def test_groups_lose_channels_alike(contract, plain) -> None:
    groups, spatial = plain.groups, len(plain.kernel_size)
    contract(
        plain,
        lambda a, b: {"in_width": Layout(groups, a), "out_width": Layout(groups, b)},
        [8 // groups, 12 // groups],
        lambda a, b: (_input(groups * a, spatial),),
    ).check()


def test_groups_are_convolutions_side_by_side() -> None:
    a, b = Width(4), Width(6)
    plain = nn.Conv1d(8, 12, 3, groups=2)
    layer = Conv1d.from_plain(plain, in_width=Layout(2, a), out_width=Layout(2, b))
    a.freeze(3)
    b.freeze(5)
    x = torch.randn(2, 6, 9)
    parts = [
        nn.functional.conv1d(
            x[:, 3 * g : 3 * g + 3], plain.weight[6 * g : 6 * g + 5, :3], plain.bias[6 * g : 6 * g + 5]
        )
        for g in (0, 1)
    ]
    torch.testing.assert_close(layer(x), torch.cat(parts, 1))


def test_blocks_may_be_finer_than_the_groups() -> None:
    a, b = Width(2), Width(3)
    layer = Conv1d(8, 12, 3, groups=2, in_width=Layout(4, a), out_width=Layout(4, b))
    a.freeze(1)
    b.freeze(2)
    x = torch.randn(2, 4, 9)
    assert layer(x).shape == (2, 8, 7)
    torch.testing.assert_close(layer.to_plain()(x), layer(x))


def test_a_depthwise_convolution_keeps_all_that_comes_of_a_channel() -> None:
    width = Width(4)
    plain = nn.Conv1d(4, 12, 3, groups=4)
    layer, x = Conv1d.from_plain(plain, in_width=width), torch.randn(2, 4, 9)
    width.freeze(3)
    torch.testing.assert_close(layer(x[:, :3]), plain(x)[:, :9])


def test_output_size_of_a_transposed_convolution() -> None:
    plain, width = nn.ConvTranspose1d(4, 6, 3, stride=2), Width(6)
    from dyn_lightning.layers import ConvTranspose1d

    layer, x = ConvTranspose1d.from_plain(plain, out_width=width), torch.randn(1, 4, 5)
    width.freeze(2)
    torch.testing.assert_close(layer(x, output_size=[12]), plain(x, output_size=[12])[:, :2])


def test_noise_lies_on_the_channels_of_unbatched_input_too() -> None:
    width = Width(4)
    layer, x = Conv1d(2, 4, 3, out_width=width), torch.randn(2, 40)
    width.set_lam(0.9)
    same = (layer(x) == layer(x)).all(1)
    assert same.tolist() == [True, True, True, False]


def test_what_has_no_learned_size_is_refused() -> None:
    for name in ("in_width", "out_width"):
        for size in (Width(8), Layout(3, Width(2)), Layout(Width(4), 2)):
            with pytest.raises(ValueError, match=rf"2 groups need {name}=Layout\(2, …\)"):
                Conv1d(8, 8, 3, groups=2, **{name: size})
    with pytest.raises(ValueError, match="give in_width alone"):
        Conv1d(8, 8, 3, groups=8, out_width=Width(8))
