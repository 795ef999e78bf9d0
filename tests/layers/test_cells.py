from typing import Any

import pytest
import torch
from torch import nn

from dyn_lightning.layers import DYNAMIC_LAYERS, GRUCell, LSTMCell, RNNCell
from dyn_lightning.widths.layout import Layout
from dyn_lightning.widths.width import Width

CELLS = [nn.RNNCell, nn.GRUCell, nn.LSTMCell]


def _state(kind: Any, *shape: int) -> Any:
    h = torch.randn(*shape)
    return (h, torch.randn(*shape)) if kind is nn.LSTMCell else h


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("bias", [True, False])
def test_cells(contract, kind: Any, bias: bool) -> None:
    both = contract(
        kind(6, 8, bias=bias),
        lambda a, h: {"in_width": a, "out_width": h},
        [6, 8],
        lambda a, h: (torch.randn(16, a), _state(kind, 16, h)),
    )
    both.check()
    contract(kind(6, 8, bias=bias), lambda h: {"out_width": h}, [8], lambda h: (torch.randn(16, 6),)).check()
    contract(
        kind(6, 8, bias=bias), lambda a: {"in_width": Layout(a, 2)}, [3], lambda a: (torch.randn(16, 2 * a),)
    ).check()


def test_the_relu_cell(contract) -> None:
    contract(
        nn.RNNCell(6, 8, nonlinearity="relu"), lambda h: {"out_width": h}, [8], lambda h: (torch.randn(16, 6),)
    ).check()


@pytest.mark.parametrize("kind", CELLS)
def test_a_state_of_full_size_is_cut(kind: Any) -> None:
    width = Width(8)
    layer = DYNAMIC_LAYERS[kind].from_plain(kind(6, 8), out_width=width).eval()
    width.freeze(5)
    x, state = torch.randn(3, 6), _state(kind, 3, 8)
    cut = tuple(s[:, :5] for s in state) if isinstance(state, tuple) else state[:, :5]
    torch.testing.assert_close(layer(x, state), layer(x, cut))
    torch.testing.assert_close(layer(x, cut), layer.to_plain()(x, cut))


@pytest.mark.parametrize("kind", CELLS)
def test_unbatched_cells(kind: Any) -> None:
    width = Width(8)
    plain = kind(6, 8)
    layer = DYNAMIC_LAYERS[kind].from_plain(plain, out_width=width).eval()
    x = torch.randn(6)
    torch.testing.assert_close(layer(x), plain(x))
    width.freeze(5)
    state = _state(kind, 8)
    cut = tuple(s[:5] for s in state) if isinstance(state, tuple) else state[:5]
    torch.testing.assert_close(layer(x, state), layer.to_plain()(x, cut))


@pytest.mark.parametrize("kind", CELLS)
def test_a_loop_over_time_is_the_recurrent_layer(kind: Any) -> None:
    from dyn_lightning.layers import GRU, LSTM, RNN

    whole = {nn.RNNCell: RNN, nn.GRUCell: GRU, nn.LSTMCell: LSTM}[kind]
    width = Width(8)
    layer = whole(6, 8, hidden_widths=(width,)).eval()
    cell = {nn.RNNCell: RNNCell, nn.GRUCell: GRUCell, nn.LSTMCell: LSTMCell}[kind](6, 8, out_width=width).eval()
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    width.freeze(5)
    x, state, found = torch.randn(7, 3, 6), None, []
    for step in x:
        state = cell(step, state)
        found.append(state[0] if isinstance(state, tuple) else state)
    torch.testing.assert_close(torch.stack(found), layer(x)[0])


def test_noise_is_on_the_last_element_of_what_a_cell_answers() -> None:
    width = Width(4)
    cell = LSTMCell(3, 4, out_width=width)
    width.set_lam(0.9)
    x = torch.randn(5, 3)
    (h, c), (again, c_again) = cell(x), cell(x)
    assert (h == again).all(0).tolist() == [True, True, True, False]
    assert torch.equal(c, c_again)
