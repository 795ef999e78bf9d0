"""Cost of functions that multiply by weights, and what layers of that kind share with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dyn_lightning.costs.base import (
    ZERO,
    OpCost,
    full_size,
    numel,
    prices_functions,
    size,
)
from dyn_lightning.costs.prices import SIGMOID, SOFTMAX, TANH
from dyn_lightning.graph.polynomial import Polynomial

if TYPE_CHECKING:
    from dyn_lightning.graph import Op


def weighted(
    fan_in: Polynomial, out: Polynomial, positions: Polynomial, bias: bool, numbers: tuple[int, int] = (1, 1)
) -> OpCost:
    """Sums of ``fan_in`` products, for ``out`` outputs at each of ``positions``.

    ``numbers``: real FLOPs of one product and of one sum.
    """
    outputs, (product, plus) = out * positions, numbers
    return OpCost(
        outputs * ((product + plus) * fan_in + plus * bias), outputs * (2 * fan_in - (not bias)), out * (fan_in + bias)
    )


GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_GATE_FLOPS = {
    # gate sums of the input's and the state's part, activations, then the new state: per hidden unit and step
    "GRU": 2 * (1 + SIGMOID) + (2 + TANH) + 4,
    "LSTM": 4 + 3 * SIGMOID + TANH + 3 + (1 + TANH),
}
_GATE_FLOPS_PAPER = {"GRU": (15, 21), "LSTM": (23, 31)}


def recurrent_layer(
    kind: str,
    module: Any,
    step: Polynomial,
    hidden: Polynomial,
    positions: Polynomial,
    projection: Polynomial | None = None,
) -> OpCost:
    """One direction of one layer: ``positions`` time steps of ``step`` inputs and ``hidden`` units."""
    gates, bias = GATES[kind], bool(module.bias)
    weights = gates * hidden * (step + (projection or hidden)) + hidden * (projection or 0)
    paper = 2 * weights + _GATE_FLOPS_PAPER[kind][bias] * hidden if kind in _GATE_FLOPS_PAPER else ZERO
    own = _GATE_FLOPS[kind] if kind in _GATE_FLOPS else 1 + (TANH if module.nonlinearity == "tanh" else 1)
    full = 2 * weights + (own + 2 * gates * bias) * hidden
    return OpCost(full * positions, paper * positions, weights + 2 * gates * bias * hidden)


@prices_functions("gru", "lstm", "rnntanh", "rnnrelu", "grucell", "lstmcell", "rnntanhcell", "rnnrelucell")
def _functional_recurrent(op: Op) -> OpCost | None:
    """Inputs: x (…, features), the states, and for each layer and direction two matrices (rows, …) and biases.

    Packed sequences have the number of items at each step behind their features. A projection has no price here.
    """
    kind = next(kind for kind in GATES if op.kind.startswith(kind.lower()))
    packed = len(op.inputs[0]) == 2 and len(op.inputs[1]) == 1
    weights = op.inputs[2 + packed + (kind == "LSTM") :]
    matrices = [x for x in weights if len(x) == 2]
    if any(full_size(x[0]) != full_size(h[0]) for x, h in zip(matrices[::2], matrices[1::2], strict=True)):
        return None
    own = _GATE_FLOPS.get(kind, 1 + (TANH if "tanh" in op.kind else 1))
    hidden = Polynomial.sum(size(h[0]) / GATES[kind] for h in matrices[1::2])
    used = Polynomial.sum(numel(x) * len(x) for x in weights)  # an entry of a matrix costs 2, of a bias 1
    return OpCost((used + own * hidden) * numel(op.inputs[0][:-1]))


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
    total = sum((weighted(size(x[-1]), features, numel(x[:-1]), bias) for x in (query, key, value)), start=OpCost())
    total = total + weighted(features, size(op.outputs[0][-1]), numel(query[:-1]), out_bias)
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
