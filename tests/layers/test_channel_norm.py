import copy

import pytest
import torch
from torch import nn

from dyn_lightning.layers import BatchNorm1d, BatchNorm2d, InstanceNorm1d
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
