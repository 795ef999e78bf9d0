import pytest
import torch
from torch import nn

from dyn_lightning.layers import LayerNorm, RMSNorm
from dyn_lightning.widths.layout import Layout
from dyn_lightning.widths.width import Width


def _x(*shape: int) -> torch.Tensor:
    return 2.0 * torch.randn(*shape) + torch.arange(shape[1])[(None, ...) + (None,) * (len(shape) - 2)]


@pytest.mark.parametrize("options", [{}, {"elementwise_affine": False}, {"bias": False, "eps": 0.1}], ids=str)
def test_layer_norm(contract, options: dict) -> None:
    contract(nn.LayerNorm(8, **options), lambda a: {"in_width": a}, [8], lambda a: (_x(3, 5, a),)).check()
    contract(nn.LayerNorm(16, **options), lambda a: {"in_width": Layout(2, a)}, [8], lambda a: (_x(3, 2 * a),)).check()


def test_layer_norm_is_over_the_elements_in_use() -> None:
    width = Width(8)
    layer, x = LayerNorm(8, in_width=width), torch.randn(3, 5)
    width.freeze(5)
    torch.testing.assert_close(layer(x).mean(-1), torch.zeros(3), atol=1e-6, rtol=0)


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
