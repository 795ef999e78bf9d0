"""The zoo's bench: what it calls working, what it counts, and how it asks Torch-Pruning."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments.zoo import ours, peer
from experiments.zoo.flops import counted_flops, parameter_count
from experiments.zoo.run import OutOfTime, read, time_limit, verdict
from experiments.zoo.table import markdown
from tests.zoo.masking import all_different


@pytest.fixture
def backbone() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 3))
    all_different(net)
    return net


EXAMPLE = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))


def halved(backbone: nn.Sequential, columns: slice = slice(6)) -> nn.Sequential:
    small = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        small[0].weight.copy_(backbone[0].weight[:6])
        small[0].bias.copy_(backbone[0].bias[:6])
        small[2].weight.copy_(backbone[2].weight[:, columns])
        small[2].bias.copy_(backbone[2].bias)
    return small


def test_states(backbone: nn.Sequential) -> None:
    def state(small: nn.Module) -> Any:
        return verdict("some", backbone, EXAMPLE, lambda: (small, {}))["state"]

    assert state(halved(backbone)) == "works"
    assert state(halved(backbone, slice(6, 12))) == "wrong"
    assert state(copy.deepcopy(backbone)) == "nothing"
    assert state(nn.Linear(5, 2)) == "shape"
    assert state(nn.Linear(4, 3)) == "fails"


def test_a_failure_is_kept_by_class_and_first_line(backbone: nn.Sequential) -> None:
    def make() -> Any:
        raise KeyError("first\nsecond")

    record = verdict("some", backbone, EXAMPLE, make)
    assert record["state"] == "fails"
    assert record["error"].startswith("KeyError: 'first")


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_time_limit() -> None:
    with pytest.raises(OutOfTime), time_limit(0.02):
        busy(5.0)
    with time_limit(0.02):
        pass
    busy(0.05)  # no alarm is left over


@pytest.mark.parametrize(("cell", "gates"), [(nn.GRU, 3), (nn.LSTM, 4)])
def test_recurrent_layers_are_counted(cell: Any, gates: int) -> None:
    net = cell(6, 8, bidirectional=True)
    assert counted_flops(net, torch.randn(5, 3, 6)) == 2 * 2 * gates * 8 * (6 + 8) * 5 * 3
    assert all(p.requires_grad for p in net.parameters())


def test_attention_is_counted() -> None:
    time_steps, size = 5, 8
    layer = nn.TransformerEncoderLayer(size, 2, 12, batch_first=True)
    projections, feed_forward = 4 * time_steps * size * size, 2 * time_steps * size * 12
    expected = 2 * 3 * (projections + 2 * time_steps * time_steps * size + feed_forward)
    assert counted_flops(layer, torch.randn(3, time_steps, size)) == expected


def test_ours_on_a_small_network(backbone: nn.Sequential) -> None:
    small, facts = ours.halved(backbone, EXAMPLE)
    assert parameter_count(small) == 6 * 5 + 6 + 3 * 6 + 3
    assert facts["sizes"] == 1


class Residual(nn.Module):
    """Two layers write to the output; only one size is inside."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.inner, self.leave = nn.Linear(5, 8), nn.Linear(8, 12), nn.Linear(12, 8)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return self.norm(x + self.leave(self.inner(x).relu()))


def test_output_layers() -> None:
    net = Residual()
    assert set(peer.output_layers(net, torch.randn(2, 5))) == {net.enter, net.leave}


def test_numbers_of_heads() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.num_heads, self.num_key_value_heads, self.head_dim = 4, 2, 3
            self.q_proj, self.k_proj, self.v_proj = nn.Linear(12, 12), nn.Linear(12, 6), nn.Linear(12, 6)

    net = Attention()
    assert peer.numbers_of_heads(net) == {net.q_proj: 4, net.k_proj: 2, net.v_proj: 2}
    net.q_proj = nn.Linear(12, 8)
    peer.set_attention_sizes(net)
    assert net.head_dim == 2


def test_torch_pruning_halves_what_is_inside() -> None:
    pytest.importorskip("torch_pruning")
    net = Residual()
    small: Any = peer.pruned(net, torch.randn(2, 5))
    assert (small.inner.out_features, small.leave.in_features, small.enter.out_features) == (6, 6, 8)
    assert net.inner.out_features == 12


def test_table(tmp_path) -> None:
    works = {"state": "works", "seconds": 0.1, "flops": 50, "parameters": 30, "difference": 1e-7, "sizes": 2}
    fails = {"state": "fails", "seconds": 0.2, "error": "IndexError: a | b", "error_in_full": "a | b\nc"}
    record = {"network": "net", "parameters": 60, "flops": 100, "ours": works, "torch_pruning": fails}
    text = markdown([record])
    assert "| ours | 1 | 0 | 0 | 0 | 0 |" in text
    assert "| Torch-Pruning | 0 | 0 | 0 | 0 | 1 |" in text
    assert "| net | works | 2 | 50 % | 50 % | 1e-07 | 0.1 | fails: IndexError |" in text
    assert "| net | IndexError: a \\| b |" in text
    (tmp_path / "results.jsonl").write_text('{"network": "net"}\n')
    assert read(tmp_path / "results.jsonl") == {"net": {"network": "net"}}
