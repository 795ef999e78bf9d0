"""Networks whose own code cuts, joins and multiplies: what it does to a size is followed there as well."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.network.dynamic import run_in_eval


def test_own_parameters(check) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.randn(8))
            self.register_buffer("shift", torch.randn(1, 8))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.gain + self.shift

    net = nn.Sequential(nn.Linear(3, 8), Scaled(), nn.Linear(8, 2))
    assert len(check(net, torch.randn(4, 3), {"0"}).bare) == 2


def test_shared_weights(check) -> None:
    a, b = nn.Linear(6, 6), nn.Linear(6, 6)
    b.weight = a.weight
    net = nn.Sequential(nn.Linear(3, 6), a, nn.ReLU(), b, nn.Linear(6, 5), nn.Linear(5, 2))
    dynamic = check(net, torch.randn(2, 3), {"0", "4"})  # what a reads and makes is one size: b reads what a makes
    assert dynamic[1].weight is dynamic[3].weight


def test_an_autoencoder_with_tied_weights(check) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode = nn.Linear(5, 8)
            self.bias = nn.Parameter(torch.randn(5))

        def forward(self, x: Tensor) -> Tensor:
            h = torch.relu(self.encode(x))
            return nn.functional.linear(h, self.encode.weight.t(), self.bias)

    check(Tied(), torch.randn(4, 5), {"encode"})


def test_a_table_that_is_read_backwards(check) -> None:
    """An embedding whose weights are the read-out's as well."""

    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(11, 8)
            self.rnn = nn.GRU(8, 8, batch_first=True)
            self.read = nn.Linear(8, 11, bias=False)
            self.read.weight = self.table.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.read(self.rnn(self.table(x))[0])

    dynamic = check(Language(), torch.randint(11, (2, 6)), {"table"})
    dynamic.widths["table"].freeze(3)
    assert dynamic.read.weight is dynamic.table.weight


@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_encoder_layer(check, norm_first: bool) -> None:
    """Its fast path in evaluation mode reads weights past their layers."""
    net = nn.Sequential(
        nn.Linear(3, 8),
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first),
        nn.Linear(8, 6),
        nn.Linear(6, 2),
    )
    parts = {f"1-self_attn-{part}" for part in ("heads", "head_size", "value_size")}
    check(net, torch.randn(2, 5, 3), {"0", "1-linear1", "2", *parts})


@pytest.mark.parametrize("heads", [2, 3])  # of an even number torch makes a fast path in evaluation mode
@pytest.mark.parametrize("options", [{}, {"kdim": 3, "vdim": 3}, {"bias": False, "add_zero_attn": True}], ids=str)
def test_attention_by_its_function(check, heads: int, options: dict[str, Any]) -> None:
    class Own(nn.MultiheadAttention):
        pass

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.own, self.out = nn.Linear(3, 12), Own(12, heads, batch_first=True, **options), nn.Linear(12, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            other = x if "kdim" in options else y
            return self.out(self.own(y, other, other)[0])

    dynamic = check(Net(), torch.randn(2, 5, 3), {"a-blocks", "a-each", "own-out_proj"}).eval()
    for width in dynamic.widths.values():
        width.set_lam(1.0)
    dynamic.widths["a-blocks"].freeze(heads - 1)
    small, _ = consolidate(dynamic)
    kept = 12 // heads * (heads - 1)
    assert (small.own.embed_dim, small.own.num_heads) == (kept, heads - 1)
    # Heads that are gone are not heard: the whole network, whose others have weights of zero.
    whole = copy.deepcopy(dynamic)
    whole.widths["a-blocks"].unfreeze()
    with torch.no_grad():
        whole.own.out_proj.weight[:, kept:] = 0.0
        whole.a.weight[kept:] = 0.0
        whole.a.bias[kept:] = 0.0
    x = torch.randn(3, 4, 3)
    torch.testing.assert_close(small(x), whole(x), rtol=1e-4, atol=1e-5)


def test_transformer(check) -> None:
    net = nn.Transformer(8, 2, 1, 1, 12, batch_first=True)
    example = {"src": torch.randn(2, 5, 8), "tgt": torch.randn(2, 4, 8)}
    attentions = ("encoder-layers-0-self_attn", "decoder-layers-0-self_attn", "decoder-layers-0-multihead_attn")
    parts = {f"{name}-{part}" for name in attentions for part in ("heads", "head_size", "value_size")}
    check(net, example, {"encoder-layers-0-linear1", "decoder-layers-0-linear1", *parts})


def test_subclasses_are_taken_by_their_functions(check) -> None:
    class Doubled(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    check(
        nn.Sequential(nn.Linear(3, 6), Doubled(6, 6), nn.Linear(6, 5), nn.Linear(5, 2)),
        torch.randn(2, 3),
        {"0", "1", "2"},
    )


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm], ids=["new", "old"])
def test_weight_norm(check, norm: Any) -> None:
    weighted = nn.Sequential(nn.Linear(3, 6), norm(nn.Linear(6, 6)), nn.Linear(6, 5), nn.Linear(5, 2))
    check(weighted, torch.randn(2, 3), {"0", "1", "2"})


def test_grouped_and_multiplied_convolutions(check) -> None:
    net = nn.Sequential(
        nn.Conv1d(2, 8, 1),
        nn.Conv1d(8, 12, 3, groups=2),
        nn.Conv1d(12, 24, 3, groups=12),
        nn.Conv1d(24, 6, 1),
        nn.ConvTranspose1d(6, 8, 3, groups=2),
        nn.Conv1d(8, 2, 1),
    )
    dynamic = check(net, torch.randn(2, 2, 12), {"0", "1", "3", "4"})
    # all but the depthwise one in two blocks
    assert {n: w.full_size for n, w in dynamic.widths.items()} == {"0": 4, "1": 6, "3": 3, "4": 4}
    dynamic.widths["1"].freeze(5)
    assert (dynamic[2](dynamic[1](dynamic[0](torch.randn(2, 2, 12))))).shape[1] == 20


def test_a_group_for_each_channel(check) -> None:
    net = nn.Sequential(nn.Conv1d(2, 8, 1), nn.GroupNorm(8, 8), nn.Conv1d(8, 6, 1), nn.Conv1d(6, 2, 1))
    dynamic = check(net, torch.randn(2, 2, 12), {"0", "2"})
    dynamic.widths["0"].freeze(5)
    dynamic(torch.randn(2, 2, 12))


def test_groups_that_do_not_nest(check) -> None:
    """Three groups and four: only blocks of a twelfth fit both."""
    net = nn.Sequential(nn.Conv1d(2, 24, 1), nn.GroupNorm(3, 24), nn.GroupNorm(4, 24), nn.Conv1d(24, 2, 1))
    dynamic = check(net, torch.randn(2, 2, 12), {"0"})
    assert dynamic.widths["0"].full_size == 2


def test_projections(check, Net) -> None:
    def run(net, x):
        y, (h, _) = net.proj(net.inp(x))
        return net.out(torch.cat([y[:, -1], h[-1]], -1))

    net = Net(run, inp=nn.Linear(3, 6), proj=nn.LSTM(6, 8, proj_size=4, batch_first=True), out=nn.Linear(8, 2))
    check(net, torch.randn(2, 4, 3), {"inp", "proj-l0", "proj-proj"})


def test_layer_norm_over_several_dimensions(check) -> None:
    net = nn.Sequential(nn.Conv1d(2, 8, 3), nn.LayerNorm([8, 10]), nn.Conv1d(8, 6, 1), nn.Conv1d(6, 2, 1))
    check(net, torch.randn(2, 2, 12), {"0", "2"})


def test_joined_and_halved(check, Net) -> None:
    def run(net, x):
        both = torch.cat([net.a(x), net.b(x)], -1)
        return net.out(nn.functional.glu(net.c(both))) + net.skip(both)

    net = Net(
        run,
        a=nn.Linear(3, 6),
        b=nn.Linear(3, 4),
        c=nn.Linear(10, 8),
        out=nn.Linear(4, 2),
        skip=nn.Linear(10, 2),
    )
    dynamic = check(net, torch.randn(5, 3), {"a", "b", "c"})
    assert dynamic.widths["c"].full_size == 4


def test_dense_blocks(check, Net) -> None:
    def run(net, x):
        features = [net.first(x)]
        for layer in (net.one, net.two):
            features.append(torch.relu(layer(torch.cat(features, 1))))
        return net.head(net.norm(torch.cat(features, 1)).mean(-1))

    net = Net(
        run,
        first=nn.Conv1d(2, 6, 1),
        one=nn.Conv1d(6, 4, 1),
        two=nn.Conv1d(10, 4, 1),
        norm=nn.BatchNorm1d(14),
        head=nn.Linear(14, 2),
    )
    check(net, torch.randn(3, 2, 7), {"first", "one", "two"})


def test_two_branches_and_a_residual_sum(check, Net) -> None:
    """The sum's other side is cut where the branches meet."""

    def run(net, x):
        x = net.stem(x)
        return net.head(x + torch.cat([net.left(x), net.right(x)], 1))

    net = Net(
        run,
        stem=nn.Conv1d(2, 10, 1),
        left=nn.Conv1d(10, 6, 1),
        right=nn.Conv1d(10, 4, 1),
        head=nn.Conv1d(10, 2, 1),
    )
    dynamic = check(net, torch.randn(3, 2, 7))
    assert sorted(w.full_size for w in dynamic.widths.values()) == [4, 6]


@pytest.mark.parametrize("heads", [1, 3])
def test_attention_of_its_own(check, heads: int) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads, self.scale = heads, 0.5
            self.qkv = nn.Linear(12, 36)
            self.out = nn.Linear(12, 12)

        def forward(self, x: Tensor) -> Tensor:
            b, t, c = x.shape
            q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
            w = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)
            return self.out((w @ v).transpose(1, 2).reshape(b, t, c))

    net = nn.Sequential(nn.Linear(5, 12), Attention(), nn.LayerNorm(12), nn.Linear(12, 2))
    dynamic = check(net, torch.randn(2, 4, 5))
    assert dynamic.widths


def test_attributes_are_current_only_while_the_network_runs(check) -> None:
    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = 6
            self.up, self.down = nn.Linear(4, 12), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.up(x).split([self.hidden, self.hidden], -1)
            return self.down(a * torch.sigmoid(b))

    dynamic = check(Split(), torch.randn(3, 4), {"up"})
    assert dynamic.hidden == 6
    dynamic.widths["up"].freeze(4)
    dynamic(torch.randn(3, 4))
    assert dynamic.hidden == 6


def test_cells_in_a_loop(check, Net) -> None:
    def run(net, x):
        h = c = x.new_zeros(x.shape[0], net.cell.hidden_size)
        for t in range(x.shape[1]):
            h, c = net.cell(x[:, t], (h, c))
        return net.out(h)

    net = Net(run, cell=nn.LSTMCell(3, 6), out=nn.Linear(6, 2))
    check(net, torch.randn(4, 5, 3), {"cell"})


def test_noise_reaches_sizes_that_only_bare_parameters_make() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 3))
            self.read = nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.read(torch.tanh(nn.functional.linear(x, self.weight)))

    torch.manual_seed(0)
    dynamic, x = dynamize(Own(), torch.randn(4, 3)), torch.randn(4, 3)
    (width,) = dynamic.widths.values()
    width.set_lam(0.55)
    assert not torch.equal(dynamic(x), dynamic(x))
    dynamic(x).square().sum().backward()
    assert width.theta.grad is not None
    assert width.theta.grad != 0
    (quiet,) = run_in_eval(dynamic, x)
    assert torch.equal(quiet, run_in_eval(dynamic, x)[0])
