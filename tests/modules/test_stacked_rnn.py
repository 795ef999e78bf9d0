from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from dyn_lightning.modules.stacked_rnn import StackedRNN


def _same_as_torch(kind: str, **options: Any) -> tuple[StackedRNN, nn.RNNBase]:
    """A stack of equal sizes with the parameters of torch's own multi-layer network."""
    plain = getattr(nn, kind)(5, 6, 3, **options)
    dropout = options.pop("dropout", 0.0)
    stack = StackedRNN(kind, 5, [6, 6, 6], dropout=dropout, **options)
    for index, layer in enumerate(stack.layers):
        for name, parameter in layer.named_parameters():
            parameter.data.copy_(getattr(plain, name.replace("l0", f"l{index}")))
    return stack, plain


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_equal_sizes_compute_what_torch_computes(kind: str, bidirectional: bool, batch_first: bool) -> None:
    stack, plain = _same_as_torch(kind, bidirectional=bidirectional, batch_first=batch_first)
    batch = 4 if batch_first else 7
    rows = 6 if bidirectional else 3
    h = torch.randn(rows, batch, 6)
    state = (h, torch.randn(rows, batch, 6)) if kind == "LSTM" else h
    x = torch.randn(4, 7, 5)
    for given in (None, state):
        torch.testing.assert_close(stack(x, given), plain(x, given))
    unbatched = torch.randn(7, 5)
    torch.testing.assert_close(stack(unbatched), plain(unbatched))


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_packed(kind: str) -> None:
    stack, plain = _same_as_torch(kind, bidirectional=True)
    packed = pack_padded_sequence(torch.randn(7, 3, 5), torch.tensor([4, 7, 2]), enforce_sorted=False)
    (ours, our_state), (theirs, their_state) = stack(packed), plain(packed)
    torch.testing.assert_close((ours.data, our_state), (theirs.data, their_state))


def test_sizes_may_differ_and_states_go_on() -> None:
    stack = StackedRNN("LSTM", 5, [3, 7, 2], bidirectional=True)
    x = torch.randn(9, 2, 5)
    y, (h, c) = stack(x)
    assert y.shape == (9, 2, 4)
    assert h.shape == c.shape == (6, 2, 7)
    assert (h[:2, :, 3:] == 0).all()
    assert (h[4:, :, 2:] == 0).all()
    one_way = StackedRNN("LSTM", 5, [3, 7, 2])
    whole, last = one_way(x)
    first, state = one_way(x[:4])
    second, end = one_way(x[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(end, last)


def test_dropout_lies_between_layers_in_training_alone() -> None:
    stack = StackedRNN("GRU", 5, [4, 3], dropout=1.0)
    a, b = torch.randn(6, 2, 5), torch.randn(6, 2, 5)
    torch.testing.assert_close(stack(a)[0], stack(b)[0])
    stack.eval()
    assert not torch.allclose(stack(a)[0], stack(b)[0])


def test_state_dict_round_trip_and_description() -> None:
    one, two = StackedRNN("GRU", 5, [4, 3], bias=False), StackedRNN("GRU", 5, [4, 3], bias=False)
    two.load_state_dict(one.state_dict())
    x = torch.randn(3, 2, 5)
    torch.testing.assert_close(one(x), two(x))
    assert "hidden_sizes=(4, 3)" in repr(one)


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="GRU, LSTM or RNN, got CNN"):
        StackedRNN("CNN", 5, [4])


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("bidirectional", [False, True])
def test_projections(bidirectional: bool) -> None:
    stack, plain = _same_as_torch("LSTM", proj_size=4, bidirectional=bidirectional)
    rows = 6 if bidirectional else 3
    x, state = torch.randn(4, 7, 5), (torch.randn(rows, 7, 4), torch.randn(rows, 7, 6))
    for given in (None, state):
        torch.testing.assert_close(stack(x, given), plain(x, given))


def test_relu_recurrence() -> None:
    stack, plain = _same_as_torch("RNN", nonlinearity="relu")
    x = torch.randn(4, 7, 5)
    torch.testing.assert_close(stack(x), plain(x))
