"""Consolidated networks made dynamic again: what consolidation leaves has sizes to learn as what it came from had."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.modules.attention import SlimMultiheadAttention
from dyn_lightning.modules.stacked_rnn import StackedRNN

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")


class Recurrent(nn.Module):
    def __init__(self, kind: Any, **options: Any) -> None:
        super().__init__()
        self.inp, self.rnn = nn.Linear(3, 6), kind(6, 8, 3, batch_first=True, dropout=0.25, **options)
        directions = 2 if options.get("bidirectional") else 1
        self.out = nn.Linear(directions * (options.get("proj_size") or 8), 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(self.inp(x))[0])


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inp, self.out = nn.Linear(3, 12), nn.Linear(12, 2)
        self.layer = nn.TransformerEncoderLayer(12, 3, 10, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(self.inp(x)))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.out = nn.Linear(3, 12), nn.Linear(3, 7), nn.Linear(12, 2)
        self.attention = nn.MultiheadAttention(12, 3, kdim=7, vdim=7, add_bias_kv=True, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y, weights = self.attention(self.query(x), self.key(x), self.key(x), average_attn_weights=False)
        return self.out(y) + weights.sum()


NETWORKS = {
    "GRU": (lambda: Recurrent(nn.GRU), StackedRNN),
    "RNN": (lambda: Recurrent(nn.RNN, nonlinearity="relu"), StackedRNN),
    "bidirectional LSTM": (lambda: Recurrent(nn.LSTM, bidirectional=True), StackedRNN),
    "LSTM with projections": (lambda: Recurrent(nn.LSTM, proj_size=3, bias=False), StackedRNN),
    "transformer": (Encoder, SlimMultiheadAttention),
    "attention to another": (TwoInputs, SlimMultiheadAttention),
}


def _cut(dynamic: Any, seed: int) -> None:
    """Sizes of two or more, and of the layers of one stack all apart."""
    generator = torch.Generator().manual_seed(seed)
    taken: dict[int, set[int]] = {}
    for width in dynamic.widths.values():
        least = max(2, round(width.lam_min * width.full_size + 0.49))
        options = [n for n in range(least, width.full_size) if n not in taken.setdefault(width.full_size, set())]
        if options:
            size = options[int(torch.randint(len(options), (), generator=generator))]
            taken[width.full_size].add(size)
            width.set_lam(size / width.full_size)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_consolidated_network_can_be_made_dynamic_and_smaller_again(check: Any, name: str) -> None:
    make, kind = NETWORKS[name]
    torch.manual_seed(0)
    example = torch.randn(2, 5, 3)
    dynamic = dynamize(make(), example)
    _cut(dynamic, 1)
    small, _ = consolidate(dynamic)
    assert any(type(m) is kind for m in small.modules())
    sizes = {n: w.size for n, w in dynamic.widths.items()}
    again = check(small, example, set(sizes))
    assert {n: w.full_size for n, w in again.widths.items()} == sizes
    again.eval()
    _cut(again, 2)
    smaller, report = consolidate(again, [example, torch.randn(3, 7, 3)])
    assert report.largest_relative_difference is not None
    assert report.largest_relative_difference < 1e-5
    assert report.parameters < report.parameters_before
    third = dynamize(smaller, example)
    torch.testing.assert_close(third.eval()(example), smaller.eval()(example))


@pytest.mark.filterwarnings("error")
def test_crnn_vad_shrinks_twice_and_learns_in_between() -> None:
    torch.manual_seed(0)
    audio = torch.randn(2, 8000)
    dynamic = dynamize(CRNNVAD(n_mels=16, channels=12, hidden_size=10), audio, duration_s=1.0)
    dynamic.widths["gru-l0"].freeze(7)
    dynamic.widths["gru-l1"].freeze(5)
    small, _ = consolidate(dynamic, [audio])
    again = dynamize(small, audio, duration_s=1.0)
    assert set(again.widths) == set(dynamic.widths)
    again.train()
    for name, k in (("gru-l0", 5.5), ("gru-l1", 3.5)):
        again.widths[name].set_lam(k / again.widths[name].full_size)
    again(audio).square().sum().backward()
    assert all(again.widths[name].theta.grad.abs() > 0 for name in ("gru-l0", "gru-l1"))
    assert again.gru.hidden_sizes == (7, 5)  # put back after the call
    again.eval()
    smaller, report = consolidate(again, [audio])
    assert smaller.gru.hidden_sizes == (5, 3)
    assert [tuple(layer.weight_hh_l0.shape) for layer in smaller.gru.layers] == [(15, 5), (9, 3)]
    assert report.largest_relative_difference is not None
    assert report.largest_relative_difference < 1e-5


def test_a_stack_whose_final_states_are_read_keeps_its_sizes() -> None:
    class Read(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inp, self.rnn, self.out = nn.Linear(3, 6), StackedRNN("GRU", 6, (5, 7)), nn.Linear(7, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.rnn(self.inp(x))[1])

    dynamic = dynamize(Read(), torch.randn(4, 2, 3))
    assert set(dynamic.widths) == {"inp"}
    assert "final states" in dynamic.fixed_reasons["rnn-l0"]


def test_code_may_read_a_stacks_sizes() -> None:
    class Read(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = StackedRNN("GRU", 3, (5, 7)), nn.Linear(7, 2)

        def forward(self, x: Tensor) -> Tensor:
            y, _ = self.rnn(x)
            return self.out(y.reshape(-1, self.rnn.hidden_sizes[-1]))

    dynamic = dynamize(Read(), torch.randn(4, 2, 3))
    dynamic.widths["rnn-l1"].freeze(4)
    small, report = consolidate(dynamic, [torch.randn(4, 2, 3)])
    assert small.rnn.hidden_sizes == (5, 4)
    assert report.largest_relative_difference is not None
    assert report.largest_relative_difference < 1e-5
