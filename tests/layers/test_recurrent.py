import copy
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dyn_lightning.layers import GRU, LSTM, RNN, Linear
from dyn_lightning.modules.stacked_rnn import StackedRNN
from dyn_lightning.widths.layout import Layout
from dyn_lightning.widths.width import Width

KINDS = [nn.GRU, nn.LSTM]


def _state(kind: type, rows: int, batch: int, hidden: int) -> Any:
    h = torch.randn(rows, batch, hidden)
    return (h, torch.randn(rows, batch, hidden)) if kind is nn.LSTM else h


def _map(function: Any, state: Any) -> Any:
    if state is None:
        return None
    return tuple(map(function, state)) if isinstance(state, tuple) else function(state)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layers_and_directions(contract, kind, layers: int, bidirectional: bool) -> None:
    contract(
        kind(6, 8, layers, bidirectional=bidirectional, batch_first=layers != 2, bias=layers != 3),
        lambda a, *h: {"in_width": a, "hidden_widths": h},
        [6, *[8] * layers],
        lambda a, *h: (torch.randn(4, 5, a),),
    ).check()


@pytest.mark.parametrize("kind", KINDS)
def test_some_layers_learned(contract, kind) -> None:
    contract(
        kind(6, 8, 3, batch_first=True),
        lambda h: {"hidden_widths": (None, h, None)},
        [8],
        lambda h: (torch.randn(4, 5, 6),),
    ).check()
    contract(kind(12, 8, 2), lambda a: {"in_width": Layout(a, 3)}, [4], lambda a: (torch.randn(4, 5, 3 * a),)).check()


@pytest.mark.parametrize("kind", KINDS)
def test_one_width_for_all_layers_gives_one_torch_layer(contract, kind) -> None:
    checked = contract(
        kind(6, 8, 2, bidirectional=True),
        lambda h: {"hidden_widths": (h, h)},
        [8],
        lambda h: (torch.randn(4, 5, 6),),
    )
    checked.check()
    small = checked.layer.to_plain()
    assert type(small) is kind
    assert (small.num_layers, small.hidden_size) == (2, checked.widths[0].size)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("full_state", [True, False])
def test_initial_states(contract, kind, full_state: bool) -> None:
    contract(
        kind(6, 8, 2, bidirectional=True, batch_first=True),
        lambda h: {"hidden_widths": (h, h)},
        [8],
        # a plain small layer knows the current size alone
        lambda h: (torch.randn(3, 5, 6), _state(kind, 4, 3, h)),
    ).check()
    width = Width(8)
    plain = kind(6, 8)
    layer = {nn.GRU: GRU, nn.LSTM: LSTM}[kind].from_plain(plain, hidden_widths=(width,)).eval()
    width.freeze(5)
    x, state = torch.randn(4, 2, 6), _state(kind, 1, 2, 8)
    cut = _map(lambda s: s[..., :5], state)
    expected = layer.to_plain()(x, cut)
    found = layer(x, state if full_state else cut)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_final_state_goes_on_where_layers_differ_in_size(kind) -> None:
    widths = (Width(8), Width(8))
    layer = {nn.GRU: GRU, nn.LSTM: LSTM}[kind](6, 8, 2, hidden_widths=widths).eval()
    widths[0].freeze(3)
    widths[1].freeze(5)
    x = torch.randn(10, 2, 6)
    whole, last = layer(x)
    first, state = layer(x[:4])
    second, end = layer(x[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(end, last)
    small = layer.to_plain()
    assert isinstance(small, StackedRNN)
    torch.testing.assert_close(small(x[4:], state), (second, end))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sorted_", [True, False])
@pytest.mark.parametrize("with_state", [True, False])
def test_packed_sequences(kind, sorted_: bool, with_state: bool) -> None:
    widths = (Width(8), Width(8))
    layer = {nn.GRU: GRU, nn.LSTM: LSTM}[kind](
        6, 8, 2, bidirectional=True, batch_first=True, hidden_widths=widths
    ).eval()
    lengths = torch.tensor([7, 4, 2] if sorted_ else [4, 7, 2])
    packed = pack_padded_sequence(torch.randn(3, 7, 6), lengths, batch_first=True, enforce_sorted=sorted_)
    state = _state(kind, 4, 3, 8) if with_state else None
    plain = {nn.GRU: nn.GRU, nn.LSTM: nn.LSTM}[kind](6, 8, 2, bidirectional=True, batch_first=True)
    plain.load_state_dict(layer.state_dict())
    full, full_state = plain(packed, state)
    widths[0].set_learning(False)
    ours, our_state = layer(packed, state)
    torch.testing.assert_close((ours.data, our_state), (full.data, full_state))
    for sizes in ((5, 5), (5, 3)):
        for width, size in zip(widths, sizes, strict=True):
            width.freeze(size)
        out, last = layer(packed, state)
        small_state = _map(lambda s: s[..., :5], state)
        expected, expected_last = layer.to_plain()(packed, small_state)
        torch.testing.assert_close(layer(packed, small_state)[1], last)
        padded, lens = pad_packed_sequence(out, batch_first=True)
        reference, _ = pad_packed_sequence(expected, batch_first=True)
        assert lens.tolist() == lengths.tolist()
        torch.testing.assert_close((padded, last), (reference, expected_last))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_unbatched(contract, kind, batch_first: bool) -> None:
    contract(
        kind(6, 8, 2, batch_first=batch_first),
        lambda h: {"hidden_widths": (h, h)},
        [8],
        lambda h: (torch.randn(5, 6),),
    ).check()
    contract(
        kind(6, 8, 2, batch_first=batch_first, bidirectional=True),
        lambda h: {"hidden_widths": (h, h)},
        [8],
        lambda h: (
            torch.randn(5, 6),
            (torch.randn(4, h), torch.randn(4, h)) if kind is nn.LSTM else torch.randn(4, h),
        ),
    ).check()


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_lies_between_layers(kind) -> None:
    width = Width(8)
    layer = {nn.GRU: GRU, nn.LSTM: LSTM}[kind](6, 8, 2, dropout=1.0, hidden_widths=(width, width))
    width.freeze(5)
    x = torch.randn(4, 2, 6)
    a, b = layer(x)[0], layer(torch.randn(4, 2, 6))[0]
    torch.testing.assert_close(a, b)  # the second layer hears nothing of the first
    assert a.abs().max() > 0
    assert not torch.equal(layer.eval()(x)[0], a)
    assert layer.to_plain().dropout == 1.0


@pytest.mark.parametrize("boundary", ["rotation", "paper", "attenuation"])
def test_boundary_unit_fades_out_of_the_recurrence(boundary: str) -> None:
    """Just above an integer the other units must be as they are without the boundary unit."""
    torch.manual_seed(0)
    width = Width(8, boundary=boundary)
    layer, x = GRU(6, 8, hidden_widths=(width,)), torch.randn(20, 4, 6)
    width.set_lam(5.0015 / 8)
    above = layer(x)[0][..., :5]
    width.set_lam(5 / 8)
    at = layer(x)[0][..., :5]  # one more unit, the fifth, bears noise in both
    far = 0.05 if boundary == "paper" else 2e-3
    assert above.shape == at.shape
    assert (above[..., :4] - at[..., :4]).abs().max() < far


def test_noise_is_on_the_last_unit_of_each_direction_alone() -> None:
    width = Width(4)
    layer, x = LSTM(3, 4, bidirectional=True, hidden_widths=(width,)), torch.randn(5, 2, 3)
    width.set_lam(0.9)
    y, (h, _) = layer(x)
    assert y.shape == (5, 2, 8)
    again, (h_again, _) = layer(x)
    assert (y == again).all(0).all(0).tolist() == [True, True, True, False] * 2
    assert torch.equal(h, h_again)


def test_nothing_past_the_boundary_is_computed() -> None:
    width = Width(8)
    layer = GRU(3, 8, 2, hidden_widths=(width, width))
    width.set_lam(0.55)
    rows = torch.arange(8).repeat(3) >= 5
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter[rows] = math.nan
            if name in ("weight_hh_l0", "weight_hh_l1", "weight_ih_l1"):
                parameter[:, 5:] = math.nan
    y, h = layer(torch.randn(4, 2, 3))
    assert y.shape == (4, 2, 5)
    (y.sum() + h.sum()).backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad[rows] == 0).all(), name


def test_output_feeds_a_reader_of_both_directions() -> None:
    width = Width(6)
    rnn = GRU(3, 6, bidirectional=True, batch_first=True, hidden_widths=(width,)).eval()
    reader = Linear(12, 2, in_width=Layout(2, width))
    width.freeze(4)
    x = torch.randn(2, 5, 3)
    torch.testing.assert_close(reader(rnn(x)[0]), reader.to_plain()(rnn.to_plain()(x)[0]))


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="2 layers need as many"):
        GRU(4, 8, 2, hidden_widths=(Width(8),))
    with pytest.raises(ValueError, match="this layer has none"):
        LSTM(4, 8, proj_width=Width(3))
    with pytest.raises(ValueError, match="its width 4"):
        LSTM(4, 8, proj_size=3, proj_width=Width(4))
    with pytest.raises(ValueError, match="its width 27"):
        GRU(4, 8, hidden_widths=(Width(9),))


def test_deepcopy_keeps_kernels_and_parameters_together() -> None:
    width = Width(8)
    layer = GRU(4, 8, hidden_widths=(width,)).eval()
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.weight_ih_l0.zero_()
        twin.bias_ih_l0.zero_()
    x = torch.randn(3, 2, 4)
    torch.testing.assert_close(twin(x)[0], twin(torch.zeros_like(x))[0])
    assert not torch.equal(layer(x)[0], twin(x)[0])


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_projections(contract, layers: int, bidirectional: bool) -> None:
    plain = nn.LSTM(6, 16, layers, proj_size=4, bidirectional=bidirectional, bias=layers == 1)
    contract(
        plain,
        lambda a, p, *h: {"in_width": a, "proj_width": p, "hidden_widths": h},
        [6, 4, *[16] * layers],
        lambda a, p, *h: (torch.randn(5, 3, a),),
    ).check()
    contract(plain, lambda p: {"proj_width": p}, [4], lambda p: (torch.randn(5, 3, 6),)).check()
    contract(
        plain,
        lambda *h: {"hidden_widths": h},
        [16] * layers,
        lambda *h: (torch.randn(5, 3, 6),),
    ).check()


def test_cells_stay_more_than_their_projections_features() -> None:
    """torch.nn.LSTM cannot be made otherwise."""
    cells = Width(16, lam_min=0.1)
    LSTM(6, 16, proj_size=4, hidden_widths=(cells,))
    assert cells.lam_min == 5 / 16


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_plain_recurrence(contract, nonlinearity: str) -> None:
    for layers, bidirectional in ((1, True), (2, False)):
        contract(
            nn.RNN(6, 8, layers, nonlinearity=nonlinearity, bidirectional=bidirectional),
            lambda a, *h: {"in_width": a, "hidden_widths": h},
            [6, *[8] * layers],
            lambda a, *h: (torch.randn(5, 3, a),),
        ).check()
    a, b = Width(8), Width(8)
    layer = RNN(6, 8, 2, nonlinearity=nonlinearity, hidden_widths=(a, b))
    a.freeze(3)
    small = layer.to_plain()
    assert isinstance(small, StackedRNN)
    x = torch.randn(5, 3, 6)
    torch.testing.assert_close(small(x), layer(x))
