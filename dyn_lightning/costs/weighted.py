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
from dyn_lightning.polynomial import Polynomial

if TYPE_CHECKING:
    from dyn_lightning.graph import Op


def _weighted(fan_in: Polynomial, out: Polynomial, positions: Polynomial, bias: bool) -> OpCost:
    """Sums of ``fan_in`` products, for ``out`` outputs at each of ``positions``."""
    outputs = out * positions
    return OpCost(outputs * (2 * fan_in + bias), outputs * (2 * fan_in - (not bias)), out * (fan_in + bias))


@prices_modules("Linear")
def _linear(op: Op) -> OpCost:
    x, y = op.inputs[0], op.outputs[0]
    return _weighted(size(x[-1]), size(y[-1]), numel(y[:-1]), has_bias(op.module))


@prices_modules("Conv1d", "Conv2d", "Conv3d")
def _conv(op: Op) -> OpCost:
    module: Any = op.module
    x, y, channel = op.inputs[0], op.outputs[0], -1 - len(module.kernel_size)
    depthwise = module.groups == module.in_channels > 1
    in_per_group = Polynomial.constant(1) if depthwise else size(x[channel]) / module.groups
    positions = numel(y[:channel]) * numel(y[channel + 1 :])
    fan_in = in_per_group * math.prod(module.kernel_size)
    return _weighted(fan_in, size(y[channel]), positions, has_bias(module))


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
    full = 2 * numel(x) * out_per_group * taps + numel(y) * bias
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


def _recurrent_layer(kind: str, module: Any, step: Polynomial, hidden: Polynomial, positions: Polynomial) -> OpCost:
    """One direction of one layer: ``positions`` time steps of ``step`` inputs and ``hidden`` units."""
    gates, bias, projection = _GATES[kind], bool(module.bias), getattr(module, "proj_size", 0)
    weights = gates * hidden * (step + (projection or hidden)) + hidden * projection
    paper = 2 * weights + _GATE_FLOPS_PAPER[kind][bias] * hidden if kind in _GATE_FLOPS_PAPER else ZERO
    own = _GATE_FLOPS[kind] if kind in _GATE_FLOPS else 1 + (TANH if module.nonlinearity == "tanh" else 1)
    full = 2 * weights + (own + 2 * gates * bias) * hidden
    return OpCost(full * positions, paper * positions, weights + 2 * gates * bias * hidden)


def _recurrent_stack(
    kind: str, module: Any, step: Polynomial, hidden_sizes: Sequence[Polynomial], positions: Polynomial
) -> OpCost:
    """Layers of these hidden sizes, one upon the other, in one or two directions."""
    total, directions = OpCost(), 2 if module.bidirectional else 1
    for hidden in hidden_sizes:
        layer = _recurrent_layer(kind, module, step, hidden, positions)
        total = total + OpCost(directions * layer.flops_full, directions * layer.flops_paper, directions * layer.params)
        projection = getattr(module, "proj_size", 0)
        step = directions * (Polynomial.constant(projection) if projection else hidden)
    return total


@prices_modules("RNN", "GRU", "LSTM")
def _recurrent(op: Op) -> OpCost:
    module, x = cast(Any, op.module), op.inputs[0]
    if len(op.hidden) != module.num_layers:
        raise ValueError(f"{op.name}: {len(op.hidden)} hidden sizes for {module.num_layers} layers")
    return _recurrent_stack(op.kind, module, size(x[-1]), [size(axis) for axis in op.hidden], numel(x[:-1]))


@prices_modules("StackedRNN")
def _stacked_rnn(op: Op) -> OpCost:
    module, x = cast(Any, op.module), op.inputs[0]
    hidden_sizes = [Polynomial.constant(n) for n in module.hidden_sizes]
    return _recurrent_stack(module.kind, module.layers[0], size(x[-1]), hidden_sizes, numel(x[:-1]))


@prices_modules("RNNCell", "GRUCell", "LSTMCell")
def _cell(op: Op) -> OpCost:
    x, hidden = op.inputs[0], op.hidden[0] if op.hidden else op.outputs[0][-1]
    return _recurrent_layer(op.kind.removesuffix("Cell"), op.module, size(x[-1]), size(hidden), numel(x[:-1]))


@prices_modules("MultiheadAttention")
def _attention(op: Op) -> OpCost | None:
    module: Any = op.module
    if module.bias_k is not None or module.add_zero_attn:
        return None
    q, k, v = op.inputs[:3] if len(op.inputs) >= 3 else op.inputs[:1] * 3
    bias = module.in_proj_bias is not None
    embedding = size(op.outputs[0][-1])
    inner = size(op.hidden[0]) if op.hidden else embedding  # all heads together
    keys = size(k[1] if len(k) == 3 and module.batch_first else k[0])
    projections = [_weighted(size(x[-1]), inner, numel(x[:-1]), bias) for x in (q, k, v)]
    projections.append(_weighted(inner, embedding, numel(q[:-1]), bias))
    scores = numel(q[:-1]) * keys * (inner / module.head_dim)
    total = sum(projections, start=OpCost())
    attention = scores * (4 * module.head_dim + SOFTMAX) + numel(q[:-1]) * inner
    return OpCost(total.flops_full + attention, ZERO, total.params)


@prices_modules("Embedding")
def _embedding(op: Op) -> OpCost:
    module: Any = op.module
    return OpCost(params=module.num_embeddings * size(op.outputs[0][-1]))


@prices_functions("matmul", "bmm", "mm", "mv", "dot")
def _matmul(op: Op) -> OpCost:
    return OpCost(2 * numel(op.outputs[0]) * size(op.inputs[0][-1]))


@prices_functions("addmm", "baddbmm")
def _addmm(op: Op) -> OpCost:
    return OpCost(numel(op.outputs[0]) * (2 * size(op.inputs[1][-1]) + 1))


@prices_functions("linear", "conv1d", "conv2d", "conv3d")
def _functional_weighted(op: Op) -> OpCost:
    """Inputs: x, the weight (out, in, …) and, maybe, a bias."""
    return OpCost(numel(op.outputs[0]) * (2 * numel(op.inputs[1][1:]) + (len(op.inputs) > 2)))


@prices_functions("scaleddotproductattention")
def _scaled_dot_product(op: Op) -> OpCost:
    """Inputs: query (…, L, E), key (…, S, E), value (…, S, V)."""
    query, key, value = op.inputs[:3]
    keys = size(key[-2])
    per_query = keys * (2 * size(query[-1]) + SOFTMAX + 2 * size(value[-1])) + size(query[-1])
    return OpCost(numel(query[:-1]) * per_query)
