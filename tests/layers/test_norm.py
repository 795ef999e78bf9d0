import copy

import pytest
import torch
from torch import nn

from dyn_lightning.layers import BatchNorm1d, BatchNorm2d, GroupNorm, InstanceNorm1d, LayerNorm, RMSNorm
from dyn_lightning.widths.layout import Layout
from dyn_lightning.widths.width import Width


def _x(*shape: int) -> torch.Tensor:
    return 2.0 * torch.randn(*shape) + torch.arange(shape[1])[(None, ...) + (None,) * (len(shape) - 2)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": None},
        {"track_running_stats": False},
        {"affine": False},
        {"eps": 0.1, "momentum": 0.5},
    ],
    ids=str,
)
def test_batch_norm(contract, options: dict) -> None:
    contract(nn.BatchNorm1d(8, **options), lambda a: {"in_width": a}, [8], lambda a: (_x(4, a, 5),)).check()
    contract(nn.BatchNorm1d(8, **options), lambda a: {"in_width": a}, [8], lambda a: (_x(9, a),)).check()
    contract(nn.BatchNorm2d(8, **options), lambda a: {"in_width": a}, [8], lambda a: (_x(3, a, 4, 2),)).check()
    contract(
        nn.BatchNorm1d(20, **options), lambda a: {"in_width": Layout(a, 5)}, [4], lambda a: (_x(4, 5 * a),)
    ).check()
    contract(
        nn.BatchNorm1d(16, **options), lambda a: {"in_width": Layout(2, a)}, [8], lambda a: (_x(4, 2 * a),)
    ).check()


@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
@pytest.mark.parametrize("scattered", [False, True])
def test_running_statistics_are_those_of_the_channels_in_use(momentum: float | None, scattered: bool) -> None:
    width = Width(4)
    layout = Layout(2, width) if scattered else Layout(width, 2)
    plain = nn.BatchNorm1d(8, momentum=momentum)
    layer = BatchNorm1d.from_plain(copy.deepcopy(plain), in_width=layout)
    width.freeze(3)
    index = [0, 1, 2, 4, 5, 6] if scattered else list(range(6))
    for _ in range(3):
        x = _x(16, 8)
        torch.testing.assert_close(layer(x[:, index]), plain(x)[:, index])
    for name in ("running_mean", "running_var"):
        ours, reference = getattr(layer, name), getattr(plain, name)
        torch.testing.assert_close(ours[index], reference[index])
        rest = [i for i in range(8) if i not in index]
        assert (ours[rest] == (0.0 if name == "running_mean" else 1.0)).all()
    assert layer.num_batches_tracked == 3
    before = layer.running_mean.clone()
    layer.eval()(x[:, index])
    assert torch.equal(layer.running_mean, before)


def test_batch_norm_checks_its_input() -> None:
    with pytest.raises(ValueError, match="expected 4D"):
        BatchNorm2d(4, in_width=Width(4))(torch.randn(2, 4))


@pytest.mark.parametrize("options", [{}, {"elementwise_affine": False}, {"bias": False, "eps": 0.1}], ids=str)
def test_layer_norm(contract, options: dict) -> None:
    contract(nn.LayerNorm(8, **options), lambda a: {"in_width": a}, [8], lambda a: (_x(3, 5, a),)).check()
    contract(nn.LayerNorm(16, **options), lambda a: {"in_width": Layout(2, a)}, [8], lambda a: (_x(3, 2 * a),)).check()


def test_layer_norm_is_over_the_elements_in_use() -> None:
    width = Width(8)
    layer, x = LayerNorm(8, in_width=width), torch.randn(3, 5)
    width.freeze(5)
    torch.testing.assert_close(layer(x).mean(-1), torch.zeros(3), atol=1e-6, rtol=0)


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


@pytest.mark.parametrize("options", [{}, {"affine": True}, {"affine": True, "track_running_stats": True}], ids=str)
def test_instance_norm(contract, options: dict) -> None:
    kinds = ((nn.InstanceNorm1d, (5,)), (nn.InstanceNorm2d, (4, 3)), (nn.InstanceNorm3d, (4, 3, 2)))
    for kind, spatial in kinds:
        contract(kind(8, **options), lambda a: {"in_width": a}, [8], lambda a, s=spatial: (_x(3, a, *s),)).check()
        contract(
            kind(8, **options), lambda a: {"in_width": Layout(2, a)}, [4], lambda a, s=spatial: (_x(3, 2 * a, *s),)
        ).check()


def test_instance_norm_of_each_channel_by_itself() -> None:
    width = Width(8)
    plain = nn.InstanceNorm1d(8, track_running_stats=True, momentum=0.5)
    layer = InstanceNorm1d.from_plain(copy.deepcopy(plain), in_width=Layout(2, Width(4)))
    layer.in_width.widths[0].freeze(3)
    index = [0, 1, 2, 4, 5, 6]
    x = _x(6, 8, 7)
    torch.testing.assert_close(layer(x[:, index]), plain(x)[:, index])
    torch.testing.assert_close(layer.running_mean[index], plain.running_mean[index])
    assert (layer.running_mean[[3, 7]] == 0).all()
    torch.testing.assert_close(layer.eval()(x[:, index]), plain.eval()(x)[:, index])
    unbatched = InstanceNorm1d(8, in_width=width)
    width.freeze(5)
    y = unbatched(x[0, :5])
    torch.testing.assert_close(y, nn.functional.instance_norm(x[:1, :5])[0])


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"momentum": None}], ids=str)
def test_batch_norm_in_three_dimensions(contract, options: dict) -> None:
    contract(nn.BatchNorm3d(8, **options), lambda a: {"in_width": a}, [8], lambda a: (_x(3, a, 4, 2, 2),)).check()


@pytest.mark.parametrize("options", [{}, {"elementwise_affine": False}, {"eps": 0.1}], ids=str)
def test_rms_norm(contract, options: dict) -> None:
    contract(nn.RMSNorm(8, **options), lambda a: {"in_width": a}, [8], lambda a: (_x(3, 5, a),)).check()
    contract(nn.RMSNorm(16, **options), lambda a: {"in_width": Layout(2, a)}, [8], lambda a: (_x(3, 2 * a),)).check()
    contract(
        nn.RMSNorm([4, 6], **options),
        lambda a, b: {"outer": (Layout(a),), "in_width": b},
        [4, 6],
        lambda a, b: (torch.randn(3, a, b),),
    ).check()


def test_rms_norm_is_over_the_elements_in_use() -> None:
    width = Width(8)
    layer, x = RMSNorm(8, eps=1e-6, in_width=width), torch.randn(3, 5)
    width.freeze(5)
    torch.testing.assert_close(layer(x), x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt())


@pytest.mark.parametrize("options", [{}, {"elementwise_affine": False}, {"bias": False}], ids=str)
def test_layer_norm_over_several_dimensions(contract, options: dict) -> None:
    contract(
        nn.LayerNorm([4, 6], **options),
        lambda a, b: {"outer": (Layout(a),), "in_width": b},
        [4, 6],
        lambda a, b: (torch.randn(3, a, b),),
    ).check()
    contract(
        nn.LayerNorm([4, 5, 6], **options),
        lambda a: {"outer": (Layout(a), None)},
        [4],
        lambda a: (torch.randn(3, a, 5, 6),),
    ).check()


def test_prelu(contract) -> None:
    contract(nn.PReLU(8), lambda a: {"in_width": a}, [8], lambda a: (_x(3, a, 5) - 4,)).check()
    contract(nn.PReLU(8), lambda a: {"in_width": a}, [8], lambda a: (_x(3, a) - 4,)).check()
