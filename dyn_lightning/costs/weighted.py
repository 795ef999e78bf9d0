"""Cost of everything that multiplies by weights: linear, convolutional and recurrent layers, attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from dyn_lightning.costs.base import (
    ZERO,
    OpCost,
    full_size,
    has_bias,
    numel,
    prices_functions,
    prices_modules,
    size,
)
from dyn_lightning.costs.prices import SIGMOID, SOFTMAX, TANH
from dyn_lightning.graph.polynomial import Polynomial

if TYPE_CHECKING:
    from dyn_lightning.graph import Op


def _weighted(
    fan_in: Polynomial, out: Polynomial, positions: Polynomial, bias: bool, numbers: tuple[int, int] = (1, 1)
) -> OpCost:
    """Sums of ``fan_in`` products, for ``out`` outputs at each of ``positions``.

    ``numbers``: real FLOPs of one product and of one sum.
    """
    outputs, (product, plus) = out * positions, numbers
    return OpCost(
        outputs * ((product + plus) * fan_in + plus * bias), outputs * (2 * fan_in - (not bias)), out * (fan_in + bias)
    )


@prices_modules("Linear")
def _linear(op: Op) -> OpCost:
    x, y = op.inputs[0], op.outputs[0]
    return _weighted(size(x[-1]), size(y[-1]), numel(y[:-1]), has_bias(op.module), op.product_and_sum)


@prices_modules("Conv1d", "Conv2d", "Conv3d")
def _conv(op: Op) -> OpCost:
    module: Any = op.module
    x, y, channel = op.inputs[0], op.outputs[0], -1 - len(module.kernel_size)
    depthwise = module.groups == module.in_channels > 1
    in_per_group = Polynomial.constant(1) if depthwise else size(x[channel]) / module.groups
    positions = numel(y[:channel]) * numel(y[channel + 1 :])
    fan_in = in_per_group * math.prod(module.kernel_size)
    return _weighted(fan_in, size(y[channel]), positions, has_bias(module), op.product_and_sum)


@prices_modules("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")
def _conv_transpose(op: Op) -> OpCost:
    module: Any = op.module
    x, y, channel = op.inputs[0], op.outputs[0], -1 - len(module.kernel_size)
    bias, taps = has_bias(module), math.prod(module.kernel_size)
    depthwise = module.groups == module.in_channels > 1
    out_per_group = (
        Polynomial.constant(module.out_channels // module.groups) if depthwise else size(y[channel]) / module.groups
    )
    params = size(x[channel]) * out_per_group * taps + size(y[channel]) * bias
    product, plus = op.product_and_sum
    full = (product + plus) * numel(x) * out_per_group * taps + numel(y) * plus * bias
    # The paper's convention multiplies each output by every tap, but adds only where taps do meet.
    reached, lengths = 1, 1
    for axis, k, s, p, d in zip(
        x[channel + 1 :], module.kernel_size, module.stride, module.padding, module.dilation, strict=True
    ):
        n_in = full_size(axis)
        n_out = (n_in - 1) * s - 2 * p + d * (k - 1) + 1
        reached *= sum(0 <= i * s + j * d - p < n_out for i in range(n_in) for j in range(k))
        lengths *= n_out
    filters = numel(x[:channel]) * size(x[channel]) * out_per_group
    paper = filters * (numel(y[channel + 1 :]) * (taps + 1) + (reached - lengths)) - numel(y) * (not bias)
    return OpCost(full, ZERO if len(module.kernel_size) == 3 else paper, params)


_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_GATE_FLOPS = {
    # gate sums of the input's and the state's part, activations, then the new state: per hidden unit and step
    "GRU": 2 * (1 + SIGMOID) + (2 + TANH) + 4,
    "LSTM": 4 + 3 * SIGMOID + TANH + 3 + (1 + TANH),
}
_GATE_FLOPS_PAPER = {"GRU": (15, 21), "LSTM": (23, 31)}


def _recurrent_layer(
    kind: str,
    module: Any,
    step: Polynomial,
    hidden: Polynomial,
    positions: Polynomial,
    projection: Polynomial | None = None,
) -> OpCost:
    """One direction of one layer: ``positions`` time steps of ``step`` inputs and ``hidden`` units."""
    gates, bias = _GATES[kind], bool(module.bias)
    weights = gates * hidden * (step + (projection or hidden)) + hidden * (projection or 0)
    paper = 2 * weights + _GATE_FLOPS_PAPER[kind][bias] * hidden if kind in _GATE_FLOPS_PAPER else ZERO
    own = _GATE_FLOPS[kind] if kind in _GATE_FLOPS else 1 + (TANH if module.nonlinearity == "tanh" else 1)
    full = 2 * weights + (own + 2 * gates * bias) * hidden
    return OpCost(full * positions, paper * positions, weights + 2 * gates * bias * hidden)


def _recurrent_stack(
    kind: str,
    module: Any,
    step: Polynomial,
    hidden_sizes: Sequence[Polynomial],
    positions: Polynomial,
    projection: Polynomial | None = None,
) -> OpCost:
    """Layers of these hidden sizes, one upon the other, in one or two directions."""
    total, directions = OpCost(), 2 if module.bidirectional else 1
    for hidden in hidden_sizes:
        layer = _recurrent_layer(kind, module, step, hidden, positions, projection)
        total = total + OpCost(directions * layer.flops_full, directions * layer.flops_paper, directions * layer.params)
        step = directions * (projection or hidden)
    return total


@prices_modules("RNN", "GRU", "LSTM", "StackedRNN")
def _recurrent(op: Op) -> OpCost:
    module, x = cast(Any, op.module), op.inputs[0]
    stacked = op.kind == "StackedRNN"
    kind, layer = (module.kind, module.layers[0]) if stacked else (op.kind, module)
    layers = len(module.layers) if stacked else module.num_layers
    hidden, projection = op.hidden[:layers], op.hidden[layers:]
    proj_size = getattr(layer, "proj_size", 0)
    if len(hidden) != layers or (projection and not proj_size):
        raise ValueError(f"{op.name}: {len(op.hidden)} hidden sizes for {layers} layers")
    projected = size(projection[0]) if projection else Polynomial.constant(proj_size) if proj_size else None
    return _recurrent_stack(kind, layer, size(x[-1]), [size(axis) for axis in hidden], numel(x[:-1]), projected)


@prices_modules("RNNCell", "GRUCell", "LSTMCell")
def _cell(op: Op) -> OpCost:
    x, hidden = op.inputs[0], op.hidden[0] if op.hidden else op.outputs[0][-1]
    return _recurrent_layer(op.kind.removesuffix("Cell"), op.module, size(x[-1]), size(hidden), numel(x[:-1]))


@prices_functions("gru", "lstm", "rnntanh", "rnnrelu", "grucell", "lstmcell", "rnntanhcell", "rnnrelucell")
def _functional_recurrent(op: Op) -> OpCost | None:
    """Inputs: x (…, features), the states, and for each layer and direction two matrices (rows, …) and biases.

    Packed sequences have the number of items at each step behind their features. A projection has no price here.
    """
    kind = next(kind for kind in _GATES if op.kind.startswith(kind.lower()))
    packed = len(op.inputs[0]) == 2 and len(op.inputs[1]) == 1
    weights = op.inputs[2 + packed + (kind == "LSTM") :]
    matrices = [x for x in weights if len(x) == 2]
    if any(full_size(x[0]) != full_size(h[0]) for x, h in zip(matrices[::2], matrices[1::2], strict=True)):
        return None
    own = _GATE_FLOPS.get(kind, 1 + (TANH if "tanh" in op.kind else 1))
    hidden = Polynomial.sum(size(h[0]) / _GATES[kind] for h in matrices[1::2])
    used = Polynomial.sum(numel(x) * len(x) for x in weights)  # an entry of a matrix costs 2, of a bias 1
    return OpCost((used + own * hidden) * numel(op.inputs[0][:-1]))


@prices_modules("MultiheadAttention", "SlimMultiheadAttention")
def _attention(op: Op) -> OpCost:
    module: Any = op.module
    slim = op.kind.startswith("Slim")
    q, k, v = op.inputs[:3] if len(op.inputs) >= 3 else op.inputs[:1] * 3
    if op.hidden:
        heads, head_size, value_size = map(size, op.hidden)
    else:
        heads = Polynomial.constant(module.num_heads)
        head_size = Polynomial.constant(module.head_size if slim else module.head_dim)
        value_size = Polynomial.constant(module.value_size) if slim else head_size
    bias = module.in_proj_bias is not None
    # A learned key and value may be appended, and one of zeros.
    appended = (module.bias_k is not None) + bool(module.zero_attn if slim else module.add_zero_attn)
    keys = size(k[1] if len(k) == 3 and module.batch_first else k[0]) + appended
    rows = (heads * head_size, heads * head_size, heads * value_size)
    projections = [_weighted(size(x[-1]), n, numel(x[:-1]), bias) for x, n in zip((q, k, v), rows, strict=True)]
    projections.append(_weighted(heads * value_size, size(op.outputs[0][-1]), numel(q[:-1]), bias))
    total = sum(projections, start=OpCost())
    # Scores and their scale, softmax, and the weighted sums of values.
    per_query = heads * keys * (2 * head_size + SOFTMAX + 2 * value_size) + heads * head_size
    learned = heads * (head_size + value_size) * (module.bias_k is not None)
    return OpCost(total.flops_full + numel(q[:-1]) * per_query, ZERO, total.params + learned)


@prices_modules("Embedding")
def _embedding(op: Op) -> OpCost:
    module: Any = op.module
    return OpCost(params=module.num_embeddings * size(op.outputs[0][-1]))


@prices_functions("convtranspose1d", "convtranspose2d", "convtranspose3d")
def _functional_transposed(op: Op) -> OpCost:
    """Inputs: x, the weight (in, out, …) and, maybe, a bias."""
    product, plus = op.product_and_sum
    products = numel(op.inputs[0]) * numel(op.inputs[1][1:])
    return OpCost((product + plus) * products + plus * numel(op.outputs[0]) * (len(op.inputs) > 2))


@prices_functions("multiheadattentionforward")
def _attention_function(op: Op) -> OpCost | None:
    """Inputs: query (L, B, E) or (L, E), key and value (S, …); an appended key is not projected."""
    if not op.hidden:
        return None
    (heads, _), (query, key, value) = map(size, op.hidden), op.inputs[:3]
    bias, out_bias, appended = op.detail
    keys, features = size(key[0]) + appended, size(query[-1])
    total = sum((_weighted(size(x[-1]), features, numel(x[:-1]), bias) for x in (query, key, value)), start=OpCost())
    total = total + _weighted(features, size(op.outputs[0][-1]), numel(query[:-1]), out_bias)
    per_query = keys * (4 * features + SOFTMAX * heads) + features
    return OpCost(total.flops_full + numel(query[:-1]) * per_query)


@prices_functions("convtbc")
def _time_first(op: Op) -> OpCost:
    """Inputs: x (time, batch, in), the weight (taps, in, out) and a bias."""
    product, plus = op.product_and_sum
    return OpCost(numel(op.outputs[0]) * ((product + plus) * numel(op.inputs[1][:-1]) + plus))


@prices_functions("linear", "conv1d", "conv2d", "conv3d")
def _functional_weighted(op: Op) -> OpCost:
    """Inputs: x, the weight (out, in, …) and, maybe, a bias."""
    product, plus = op.product_and_sum
    return OpCost(numel(op.outputs[0]) * ((product + plus) * numel(op.inputs[1][1:]) + plus * (len(op.inputs) > 2)))


@prices_functions("scaleddotproductattention")
def _scaled_dot_product(op: Op) -> OpCost:
    """Inputs: query (…, L, E), key (…, S, E), value (…, S, V)."""
    query, key, value = op.inputs[:3]
    keys = size(key[-2])
    per_query = keys * (2 * size(query[-1]) + SOFTMAX + 2 * size(value[-1])) + size(query[-1])
    return OpCost(numel(query[:-1]) * per_query)
