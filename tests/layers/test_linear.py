import torch
from torch import nn

from dyn_lightning.layers import Linear
from dyn_lightning.widths.layout import Layout
from dyn_lightning.widths.width import Width


def test_output_is_the_prefix_of_the_full_one() -> None:
    plain, width = nn.Linear(4, 8), Width(8)
    layer, x = Linear.from_plain(plain, out_width=width).eval(), torch.randn(3, 5, 4)
    width.freeze(5)
    torch.testing.assert_close(layer(x), plain(x)[..., :5])


def test_input_layout_takes_the_columns_of_the_elements_in_use() -> None:
    """Channels × bands flattened: what the missing channels would have added is left out."""
    plain, width = nn.Linear(4 * 5, 3), Width(4)
    layer = Linear.from_plain(plain, in_width=Layout(width, 5))
    width.freeze(2)
    x = torch.randn(6, 4, 5)
    x[:, 2:] = 0
    torch.testing.assert_close(layer(x[:, :2].flatten(1)), plain(x.flatten(1)))


def test_two_producers_of_one_width_keep_the_same_elements() -> None:
    width = Width(8)
    a, b = Linear(4, 8, out_width=width).eval(), Linear(4, 8, out_width=width).eval()
    width.set_lam(0.5)
    x = torch.randn(3, 4)
    assert (a(x) + b(x)).shape == (3, 4)


def test_contract(contract) -> None:
    for bias in (True, False):
        plain = nn.Linear(8, 12, bias=bias)
        contract(
            plain, lambda a, b: {"in_width": a, "out_width": b}, [8, 12], lambda a, b: (torch.randn(3, 5, a),)
        ).check()
    contract(
        nn.Linear(8 * 20, 6), lambda a: {"in_width": Layout(a, 20)}, [8], lambda a: (torch.randn(3, a * 20),)
    ).check()
    contract(
        nn.Linear(16, 6),
        lambda a, b: {"in_width": Layout(2, a), "out_width": b},
        [8, 6],
        lambda a, b: (torch.randn(3, 2 * a),),
    ).check()
