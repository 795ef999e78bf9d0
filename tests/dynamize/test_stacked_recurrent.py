"""Recurrent layers of unequal sizes stand for torch.nn's in code that asks for more than their output."""

from typing import Any

import pytest
import torch
from torch import nn

from dyn_lightning.modules.stacked_rnn import StackedRNN


def reads(n: Any, x: Any) -> Any:
    n.rnn.flatten_parameters()
    weights = [w for ws in n.rnn.all_weights for w in ws]
    assert len(weights) == 2 * (1 + n.rnn.bidirectional) * (2 + 2 * n.rnn.bias + bool(n.rnn.proj_size))
    assert n.rnn.num_layers == 2
    return n.out(n.rnn(x)[0])


@pytest.mark.parametrize(
    ("kind", "options"),
    [(nn.GRU, {}), (nn.LSTM, {"bidirectional": True}), (nn.RNN, {"bidirectional": True}), (nn.LSTM, {"proj_size": 3})],
)
def test_code_that_reads_the_layer(kind: Any, options: Any, Net: Any, check: Any) -> None:
    rnn = kind(4, 8, 2, batch_first=True, **options)
    width = (options.get("proj_size") or 8) * (2 if "bidirectional" in options else 1)
    dynamic = check(Net(reads, rnn=rnn, out=nn.Linear(width, 2)), torch.randn(2, 5, 4))
    assert {"rnn-l0", "rnn-l1"} <= set(dynamic.widths)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_a_stack_answers_what_torch_nn_does(kind: str, bidirectional: bool) -> None:
    options: Any = {"bidirectional": bidirectional, "batch_first": True}
    plain: Any = {"GRU": nn.GRU, "LSTM": nn.LSTM, "RNN": nn.RNN}[kind](4, 6, 2, **options)
    stack: Any = StackedRNN(kind, 4, [6, 6], **options)
    for name in plain._flat_weights_names:
        getattr(stack, name).data.copy_(getattr(plain, name))
    x, order = torch.randn(3, 5, 4), torch.tensor([2, 0, 1])
    torch.testing.assert_close(stack(x), plain(x))
    public = {n for n in vars(nn.RNNBase) | vars(type(plain)) if not n.startswith("_")} - {"jit_unused_properties"}
    assert [name for name in public if not hasattr(stack, name)] == []
    for name in vars(plain):
        if not name.startswith("_") and name != "training":
            assert getattr(stack, name) == getattr(plain, name), name
    assert stack._all_weights == plain._all_weights
    for mine, theirs in zip(stack.all_weights, plain.all_weights, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert stack.get_expected_hidden_size(x, None) == plain.get_expected_hidden_size(x, None)
    state = plain(x)[1]
    torch.testing.assert_close(stack.permute_hidden(state, order), plain.permute_hidden(state, order))
    stack.check_forward_args(x, state, None)
    with pytest.raises(RuntimeError, match="hidden"):
        stack.check_forward_args(x, (state[0][:1],) * 2 if kind == "LSTM" else state[:1], None)
    assert not hasattr(stack, "weight_hh_l2")
    stack.flatten_parameters()
    before = stack.weight_hh_l1.clone()
    stack.reset_parameters()
    assert not torch.equal(stack.weight_hh_l1, before)
