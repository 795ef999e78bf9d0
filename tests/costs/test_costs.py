"""Costs of single operations: torch's own counter, closed forms, and layers rebuilt smaller."""

import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dyn_lightning.costs import op_cost
from dyn_lightning.features.spectral import LogCompression, MelFilterBank, Spectrogram
from dyn_lightning.graph import Op
from dyn_lightning.modules.attention import SlimMultiheadAttention
from dyn_lightning.modules.stacked_rnn import StackedRNN
from dyn_lightning.network.plain import plain_complexity
from dyn_lightning.widths.width import Width

RNNS = (nn.RNN, nn.GRU, nn.LSTM)


def fixed_op(module, *inputs, output=None, name="layer"):
    """The Op of a layer without Widths, called on these tensors."""
    with torch.no_grad():
        y = module(*inputs) if output is None else output
    y = y[0] if isinstance(y, tuple) else y
    axes = [tuple((n,) for n in x.shape) for x in (*inputs, y)]
    hidden = tuple((module.hidden_size,) for _ in range(module.num_layers)) if isinstance(module, RNNS) else ()
    if isinstance(module, StackedRNN):
        hidden = tuple((n,) for n in module.hidden_sizes)
    return Op(name, type(module).__name__, module, tuple(axes[:-1]), (axes[-1],), hidden)


def function_op(kind, inputs, *outputs):
    """The Op of a function call, from shapes."""
    as_axes = lambda shapes: tuple(tuple((n,) for n in shape) for shape in shapes)  # noqa: E731
    return Op(f"net.{kind}", kind, None, as_axes(inputs), as_axes(outputs))


def full(op):
    return op_cost(op).flops_full.at({})


def counted_by_torch(function, *inputs):
    """FLOPs by torch's counter: products and their sums at 2 each, no biases, nothing element-wise."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        function(*inputs)
    return counter.get_total_flops()


WEIGHTED = [
    (lambda b: nn.Linear(13, 7, bias=b), (3, 5, 13)),
    (lambda b: nn.Linear(13, 7, bias=b), (13,)),
    (lambda b: nn.Conv1d(6, 8, 3, stride=2, padding=2, bias=b), (2, 6, 20)),
    (lambda b: nn.Conv1d(6, 9, 3, dilation=2, groups=3, bias=b), (2, 6, 20)),
    (lambda b: nn.Conv1d(6, 12, 3, groups=6, bias=b), (2, 6, 20)),
    (lambda b: nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=1, groups=2, bias=b), (2, 4, 9, 11)),
    (lambda b: nn.Conv3d(2, 3, 3, bias=b), (1, 2, 5, 6, 7)),
    (lambda b: nn.ConvTranspose1d(6, 8, 4, stride=2, padding=1, bias=b), (2, 6, 20)),
    (lambda b: nn.ConvTranspose1d(6, 6, 4, stride=4, groups=6, output_padding=1, bias=b), (2, 6, 20)),
    (lambda b: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, bias=b), (2, 4, 5, 7)),
]


@pytest.mark.parametrize(("make", "shape"), WEIGHTED)
def test_full_products_are_those_that_torch_counts(make, shape):
    """Without a bias all of a weighted layer's FLOPs are products and sums; a bias adds one an output."""
    x = torch.randn(shape)
    plain, biased = make(False), make(True)
    assert full(fixed_op(plain, x)) == counted_by_torch(plain, x)
    assert full(fixed_op(biased, x)) == counted_by_torch(plain, x) + plain(x).numel()
    for module in (plain, biased):
        assert op_cost(fixed_op(module, x)).params.at({}) == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("kind", "gates", "own"), [(nn.RNN, 1, 8), (nn.GRU, 3, 21), (nn.LSTM, 4, 31)])
def test_full_recurrent_layers(kind, gates, own, bidirectional):
    """Products from the weights' own sizes, one a step; ``own``: gate sums, activations and the new state.

    GRU: two sigmoids of a sum (2·(1 + 3)), a tanh of a sum with a product (2 + 7), (1 − z)·n + z·h (4).
    """
    batch, frames, hidden, layers = 2, 7, 5, 3
    x = torch.randn(batch, frames, 4)
    for bias in (False, True):
        module = kind(4, hidden, layers, batch_first=True, bidirectional=bidirectional, bias=bias)
        weights = sum(p.numel() for name, p in module.named_parameters() if name.startswith("weight"))
        units = hidden * layers * (1 + bidirectional)
        expected = batch * frames * (2 * weights + units * (own + 2 * gates * bias))
        cost = op_cost(fixed_op(module, x))
        assert cost.flops_full.at({}) == expected
        assert cost.params.at({}) == sum(p.numel() for p in module.parameters())


def test_full_gru_products_are_those_that_torch_counts():
    module, x = nn.GRU(4, 5, 2, batch_first=True, bidirectional=True), torch.randn(2, 7, 4)
    beyond_products = 2 * 7 * (2 * 2 * 5) * (21 + 6)
    assert full(fixed_op(module, x)) - beyond_products == counted_by_torch(module, x)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_lstm_with_projection():
    module, x = nn.LSTM(4, 6, 2, batch_first=True, proj_size=3), torch.randn(2, 7, 4)
    weights = sum(p.numel() for name, p in module.named_parameters() if name.startswith("weight"))
    cost = op_cost(fixed_op(module, x))
    assert cost.params.at({}) == sum(p.numel() for p in module.parameters())
    assert cost.flops_full.at({}) == 2 * 7 * (2 * weights + 2 * 6 * (31 + 8))


def test_stack_of_unequal_layers_costs_what_its_layers_cost():
    module, x = StackedRNN("GRU", 4, (6, 3), batch_first=True, bidirectional=True), torch.randn(2, 7, 4)
    y = module.layers[0](x)[0]
    parts = [op_cost(fixed_op(layer, z)) for layer, z in zip(module.layers, (x, y), strict=True)]
    whole = op_cost(fixed_op(module, x))
    assert whole.flops_full == parts[0].flops_full + parts[1].flops_full
    assert whole.flops_paper == parts[0].flops_paper + parts[1].flops_paper
    assert whole.params.at({}) == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("kdim", "vdim"), [(None, None), (10, 6)])
def test_multihead_attention(kdim, vdim):
    batch, queries, keys, embedding, heads = 2, 5, 7, 12, 3
    module = nn.MultiheadAttention(embedding, heads, bias=False, batch_first=True, kdim=kdim, vdim=vdim)
    inputs = [
        torch.randn(batch, n, d)
        for n, d in ((queries, embedding), (keys, kdim or embedding), (keys, vdim or embedding))
    ]
    softmax_and_scale = batch * queries * (5 * heads * keys + embedding)
    cost = op_cost(fixed_op(module, *inputs))
    module.train()  # in evaluation a fused kernel runs that torch's counter does not see
    assert cost.flops_full.at({}) - softmax_and_scale == counted_by_torch(module, *inputs)
    assert cost.params.at({}) == sum(p.numel() for p in module.parameters())
    biased = nn.MultiheadAttention(embedding, heads, batch_first=True)
    x = torch.randn(batch, queries, embedding)
    assert op_cost(fixed_op(biased, x, x, x)).params.at({}) == sum(p.numel() for p in biased.parameters())


def test_attention_with_appended_keys_and_its_slim_form():
    x = [torch.randn(3, 1, 8)] * 3
    plain, module = nn.MultiheadAttention(8, 2), nn.MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True)
    more = op_cost(fixed_op(module, *x))
    assert more.params.at({}) == sum(p.numel() for p in module.parameters())
    # two more keys for each of three queries in two heads: two products of four, and a softmax
    assert (more.flops_full - op_cost(fixed_op(plain, *x)).flops_full).at({}) == 3 * 2 * 2 * (8 + 5 + 8)
    slim = SlimMultiheadAttention((8, 8, 8), 2, 4, 4, 8, bias_kv=True, zero_attn=True)
    assert op_cost(fixed_op(slim, *x)) == more
    uneven = SlimMultiheadAttention((8, 8, 8), 3, 2, 5, 4)
    cost = op_cost(fixed_op(uneven, *x))
    assert cost.params.at({}) == sum(p.numel() for p in uneven.parameters())
    assert cost.flops_full.at({}) - 3 * (5 * 3 * 3 + 3 * 2) - 3 * (27 + 4) == counted_by_torch(uneven, *x)


FUNCTIONAL = [
    ("matmul", torch.matmul, [(2, 3, 4, 5), (2, 3, 5, 6)]),
    ("__matmul__", torch.matmul, [(4, 5), (5, 6)]),
    ("bmm", torch.bmm, [(2, 4, 5), (2, 5, 6)]),
    ("linear", nn.functional.linear, [(2, 3, 5), (7, 5)]),
    ("conv1d", nn.functional.conv1d, [(2, 4, 9), (6, 4, 3)]),
    ("conv2d", lambda x, w: nn.functional.conv2d(x, w, groups=2), [(2, 4, 9, 8), (6, 2, 3, 3)]),
]


@pytest.mark.parametrize(("kind", "function", "shapes"), FUNCTIONAL, ids=[f[0] for f in FUNCTIONAL])
def test_functional_products_are_those_that_torch_counts(kind, function, shapes):
    tensors = [torch.randn(shape) for shape in shapes]
    cost = op_cost(function_op(kind, shapes, function(*tensors).shape))
    assert cost.flops_full.at({}) == counted_by_torch(function, *tensors)
    assert cost.flops_paper.at({}) == 0


def test_functional_bias_is_one_an_output():
    shapes = [(2, 3, 5), (7, 5)]
    with_bias = full(function_op("linear", [*shapes, (7,)], (2, 3, 7)))
    assert with_bias == full(function_op("linear", shapes, (2, 3, 7))) + 2 * 3 * 7


def test_scaled_dot_product_attention():
    query, key, value = (2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)
    products = 2 * 3 * (2 * 5 * 7 * 4 + 2 * 5 * 7 * 6)
    softmax, scale = 5 * (2 * 3 * 5 * 7), 2 * 3 * 5 * 4
    op = function_op("scaled_dot_product_attention", [query, key, value], (2, 3, 5, 6))
    assert full(op) == products + softmax + scale


@pytest.mark.parametrize(
    "options", [{}, {"bias": False, "add_bias_kv": True}, {"kdim": 7, "vdim": 5, "add_zero_attn": True}], ids=str
)
def test_attention_costs_the_same_as_a_layer_and_as_a_function(options):
    class Own(nn.MultiheadAttention):
        pass

    inputs = (
        torch.randn(6, 2, 12),
        torch.randn(4, 2, options.get("kdim", 12)),
        torch.randn(4, 2, options.get("vdim", 12)),
    )
    layer, function = (plain_complexity(kind(12, 3, **options), inputs, None) for kind in (nn.MultiheadAttention, Own))
    assert function.flops_full_size() == layer.flops_full_size()
    assert function.parameters_now() == layer.parameters_now()


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "expected"),
    [
        ("add", [(2, 3, 4), (4,)], (2, 3, 4), 24),
        ("add_", [(2, 3, 4), (4,)], (2, 3, 4), 24),
        ("__rsub__", [(2, 3, 4)], (2, 3, 4), 24),
        ("leaky_relu", [(2, 3)], (2, 3), 4 * 6),
        ("glu", [(2, 6)], (2, 3), 4 * 6),
        ("mean", [(2, 3, 4)], (2, 3), 24),
        ("std", [(2, 3, 4)], (2, 3), 4 * 24),
        ("stft", [(1, 16000)], (1, 513, 59), 59 * (1024 + 5 * 1024 * 10)),
        ("reshape", [(2, 3, 4)], (6, 4), 0),
        ("__getitem__", [(2, 3, 4)], (3, 4), 0),
    ],
)
def test_functions(kind, inputs, output, expected):
    cost = op_cost(function_op(kind, inputs, output))
    assert (cost.flops_full.at({}), cost.counted) == (expected, True)


@pytest.mark.parametrize("make", [lambda: nn.Conv1d(4, 6, 3), lambda: nn.GRU(4, 5, batch_first=True)])
def test_parametrized_layers_cost_what_the_folded_ones_cost(make):
    plain, normed = make(), make()
    name = next(name for name, _ in normed.named_parameters() if name.startswith("weight"))
    nn.utils.parametrizations.weight_norm(normed, name)
    x = torch.randn(2, 4, 4)
    axes, hidden = (((2,), (4,), (4,)),), ((5,),) * isinstance(plain, nn.GRU)
    output = tuple((n,) for n in (plain(x)[0] if hidden else plain(x)).shape)
    costs = [op_cost(Op("layer", type(m).__name__, m, axes, (output,), hidden)) for m in (plain, normed)]
    assert costs[0] == costs[1]
    assert costs[0].flops_full.at({}) > 0


def test_unknown_kinds_say_so_and_views_do_not():
    class Mystery(nn.Linear):
        pass

    cost = op_cost(fixed_op(Mystery(3, 4), torch.randn(2, 3)))
    assert not cost.counted
    assert (cost.flops_full.at({}), cost.params.at({})) == (0, 16)
    assert not op_cost(function_op("einsum", [(2, 3), (3, 4)], (2, 4))).counted
    assert op_cost(function_op("transpose", [(2, 3)], (3, 2))).counted
    assert op_cost(fixed_op(nn.Dropout(), torch.randn(2, 3))).counted


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.BatchNorm1d(8), (2, 8, 5), 2 * 80 + 5 * 8),
        (nn.BatchNorm1d(8, affine=False), (2, 8), 2 * 16 + 3 * 8),
        (nn.BatchNorm2d(8, track_running_stats=False), (2, 8, 3, 5), 7 * 240 + 4 * 8),
        (nn.LayerNorm((4, 5)), (3, 4, 5), 7 * 60 + 4 * 3),
        (nn.GroupNorm(2, 8), (3, 8, 5), 7 * 120 + 4 * 3 * 2),
        (nn.InstanceNorm1d(8), (3, 8, 5), 5 * 120 + 4 * 3 * 8),
        (nn.RMSNorm(8), (3, 8), 4 * 24 + 3 * 3),
        (nn.PReLU(8), (3, 8, 5), 4 * 120),
        (nn.MaxPool2d((2, 3)), (1, 4, 4, 6), 4 * 4 * 5),
        (nn.AvgPool2d(2), (1, 4, 4, 6), 4 * 6 * 4),
        (nn.AdaptiveAvgPool1d(1), (2, 4, 6), 48),
        (nn.GELU(), (2, 3), 5 * 6),
        (nn.Embedding(10, 4), None, 0),
        (nn.RNNCell(4, 3, nonlinearity="relu"), (2, 4), 2 * (2 * (12 + 9) + 3 * (2 + 2))),
    ],
)
def test_full_prices_and_parameters_of_other_layers(module, shape, expected):
    x = torch.zeros(2, 3, dtype=torch.int64) if shape is None else torch.randn(shape)
    cost = op_cost(fixed_op(module, x))
    assert cost.flops_full.at({}) == expected
    assert cost.params.at({}) == sum(p.numel() for p in module.parameters())


def test_front_end_of_one_second():
    audio = torch.randn(1, 16000)
    spectrogram, mel = Spectrogram(1024, 256), MelFilterBank(513, 80)
    power = spectrogram(audio)
    assert full(fixed_op(spectrogram, audio)) == 59 * (1024 + 5 * 1024 * 10 + 3 * 513)
    assert full(fixed_op(mel, power)) == counted_by_torch(torch.matmul, mel.fb.T, power[0]) == 59 * 2 * 513 * 80
    assert full(fixed_op(LogCompression(), mel(power))) == 2 * 59 * 80
    assert full(fixed_op(Spectrogram(400, 160), audio)) == 98 * (400 + round(5 * 400 * math.log2(400)) + 3 * 201)
    for module, x in ((spectrogram, audio), (mel, power)):
        assert op_cost(fixed_op(module, x)).flops_paper.at({}) == 0


IN, OUT, HIDDEN = Width(24), Width(36), Width(20)


def rebuilt(sizes):
    """(Op with Widths, the same layer at these sizes) for layers whose sizes are learned."""
    i, o, h = (sizes[w] for w in (IN, OUT, HIDDEN))
    b, t = 2, 9
    channels_in, channels_out, frames = (IN,), (OUT,), (t,)

    def op(module, x, y, hidden=()):
        return Op("layer", type(module).__name__, module, (x,), (y,), hidden)

    def follower(module):
        return op(module, ((b,), channels_in, frames), ((b,), channels_in, frames))

    def rnn_op(module, directions, *hidden):
        y = (directions, hidden[-1][0])
        return op(module, ((b,), frames, channels_in), ((b,), frames, y), hidden)

    conv_axes = ((b,), channels_in, frames), ((b,), channels_out, (t - 2,))
    yield op(nn.Linear(24, 36), ((b,), frames, channels_in), ((b,), frames, channels_out)), nn.Linear(i, o)
    yield op(nn.Conv1d(24, 36, 3, bias=False), *conv_axes), nn.Conv1d(i, o, 3, bias=False)
    yield op(nn.Conv1d(24, 36, 3, groups=3), *conv_axes), nn.Conv1d(i, o, 3, groups=3)
    yield (
        op(
            nn.ConvTranspose1d(24, 36, 3, groups=3),
            ((b,), channels_in, frames),
            ((b,), channels_out, (t + 2,)),
        ),
        nn.ConvTranspose1d(i, o, 3, groups=3),
    )
    one_channel = ((b,), (1,), frames), ((b,), channels_out, (t + 2,))
    yield op(nn.ConvTranspose1d(1, 36, 3), *one_channel), nn.ConvTranspose1d(1, o, 3)
    yield (
        op(nn.Conv1d(24, 24, 3, groups=24), conv_axes[0], ((b,), channels_in, (t - 2,))),
        nn.Conv1d(i, i, 3, groups=i),
    )
    yield (
        op(nn.Conv1d(24, 48, 3, groups=24), conv_axes[0], ((b,), (IN, 2), (t - 2,))),
        nn.Conv1d(i, 2 * i, 3, groups=i),
    )
    yield (
        op(nn.ConvTranspose1d(24, 24, 3, groups=24), conv_axes[0], ((b,), channels_in, (t + 2,))),
        nn.ConvTranspose1d(i, i, 3, groups=i),
    )
    yield follower(nn.BatchNorm1d(24)), nn.BatchNorm1d(i)
    yield follower(nn.PReLU(24)), nn.PReLU(i)
    yield follower(nn.GroupNorm(3, 24)), nn.GroupNorm(3, i)
    yield op(nn.LayerNorm(24), *[((b,), frames, channels_in)] * 2), nn.LayerNorm(i)
    yield rnn_op(nn.GRU(24, 20, 1, batch_first=True), 1, (HIDDEN,)), nn.GRU(i, h, 1, batch_first=True)
    rnn = {"num_layers": 2, "bidirectional": True, "batch_first": True}
    yield rnn_op(nn.LSTM(24, 20, **rnn), 2, (HIDDEN,), (HIDDEN,)), nn.LSTM(i, h, **rnn)
    yield (
        rnn_op(nn.GRU(24, 20, **rnn), 2, (HIDDEN,), (OUT,)),
        StackedRNN("GRU", i, (h, o), bidirectional=True, batch_first=True),
    )


@pytest.mark.parametrize("sizes", [(24, 36, 20), (3, 3, 1), (12, 30, 7), (21, 9, 19)])
def test_costs_at_any_size_are_those_of_the_layer_rebuilt(sizes):
    sizes = dict(zip((IN, OUT, HIDDEN), sizes, strict=True))
    for op, small in rebuilt(sizes):
        cost = op_cost(op)
        x = torch.randn([math.prod(f if isinstance(f, int) else sizes[f] for f in axis) for axis in op.inputs[0]])
        small_cost = op_cost(fixed_op(small, x))
        assert cost.params.at(sizes) == sum(p.numel() for p in small.parameters()), op.kind
        assert cost.flops_full.at(sizes) == small_cost.flops_full.at({}), op.kind
        assert cost.flops_paper.at(sizes) == small_cost.flops_paper.at({}), op.kind


def test_a_recurrent_layer_without_its_hidden_sizes_is_an_error():
    op = fixed_op(nn.GRU(4, 3, 2), torch.randn(5, 1, 4), name="encoder.gru")
    with pytest.raises(ValueError, match=r"encoder\.gru: 0 hidden sizes for 2 layers"):
        op_cost(Op(op.name, op.kind, op.module, op.inputs, op.outputs))
