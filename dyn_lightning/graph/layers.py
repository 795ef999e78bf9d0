"""Layers that are taken as a whole: what they do to Axes, and how their own sizes are bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from dyn_lightning.features.spectral import FixedScaling, LogCompression, MelFilterBank, Spectrogram
from dyn_lightning.graph.axes import Axis, Size, axis_size, concatenated, fix_sizes, make_axis, normal, unify
from dyn_lightning.graph.ints import Attribute
from dyn_lightning.graph.numbers import name_size
from dyn_lightning.graph.products import conv_axes, group_axes, linear_axes
from dyn_lightning.graph.tracer import Axes, Op, Tracer, Trail, tensors_in
from dyn_lightning.models.attention import SlimMultiheadAttention
from dyn_lightning.models.stacked_rnn import StackedRNN

CONVS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
CHANNEL_NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip
CELLS = (nn.RNNCell, nn.GRUCell, nn.LSTMCell)
ELEMENTWISE_LAYERS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.LogSigmoid,
    nn.Tanh, nn.Softplus, nn.Softsign, nn.Softmin, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Hardshrink,
    nn.Softshrink, nn.Tanhshrink, nn.Threshold, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Dropout, nn.Dropout1d,
    nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Identity, LogCompression, FixedScaling,
)  # fmt: skip
POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.LPPool1d, nn.LPPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
)  # fmt: skip
SOFTMAX = (nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin)
SIZED = (
    nn.Linear, *CONVS, *CHANNEL_NORMS, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.PReLU, nn.RNN, nn.GRU, nn.LSTM,
    *CELLS, nn.Embedding, nn.MultiheadAttention, MelFilterBank,
)  # fmt: skip
LEAVES = (*SIZED, Spectrogram, StackedRNN, SlimMultiheadAttention, *POOLS, *ELEMENTWISE_LAYERS)


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is taken as a whole, rather than by the functions that it calls.

    A subclass may compute something else than its torch.nn class does, and so does a layer whose weight is computed
    (by a hook, as weight_norm does): these are taken by their functions.
    """
    if type(module) not in LEAVES:
        return False
    computed = [name for name in ("weight", "bias") if isinstance(vars(module).get(name), Tensor)]
    return not computed


def bind(t: Tracer, name: str, **new: Any) -> dict[str, Any]:
    """A layer's binding; a layer that is called again must meet the sizes that it met before."""
    bound = t.graph.bindings.setdefault(name, new)
    for key, axis in new.items():
        if bound[key] is not axis and isinstance(axis, tuple) and axis_size(bound[key]) == axis_size(axis):
            unify(bound[key], axis, f"{name} is called with inputs of different make")
    return bound


def own_weight(t: Tracer, name: str, x: Tensor | None, axes: list[Axis | None]) -> Axes:
    """Notes on a layer's own parameter. None stands for a size that it makes, named after the layer."""
    assert x is not None
    known = t.known(x)
    made = [
        (known[d] if known else t.new_size(name, int(n))) if axis is None else axis
        for d, (axis, n) in enumerate(zip(axes, x.shape, strict=True))
    ]
    return t.own(x, tuple(made), f"{name} shares a parameter with another layer")


# Attributes of layers that are sizes, and where a binding has them.
_ATTRIBUTES = {
    "in_features": "in_axis", "in_channels": "in_axis", "input_size": "in_axis", "num_features": "in_axis",
    "num_channels": "in_axis", "num_parameters": "in_axis", "embed_dim": "in_axis", "out_features": "out",
    "out_channels": "out", "embedding_dim": "out", "hidden_size": "out", "num_heads": "heads", "head_dim": "head_size",
    "kdim": "key_axis", "vdim": "value_axis",
}  # fmt: skip


def name_sizes(t: Tracer, name: str, m: nn.Module) -> None:
    """Tell which Axes a layer's integer attributes are the sizes of."""
    bound = t.graph.bindings.get(name, {})
    for key, place in _ATTRIBUTES.items():
        axis = bound["hidden"][0] if key == "hidden_size" and "hidden" in bound else bound.get(place)
        if axis is not None and getattr(m, key, None) == axis_size(axis):
            name_size(t, Attribute(name, key, axis_size(axis)), axis)
    if isinstance(m, (nn.LayerNorm, nn.RMSNorm)) and "in_axis" in bound:
        name_size(t, Attribute(name, "normalized_shape", axis_size(bound["in_axis"]), 0), bound["in_axis"])


def fixed_input(t: Tracer, inputs: tuple[Axes, ...], reason: str) -> None:
    t.fix_axes(inputs, reason)


def linear(t: Tracer, name: str, m: Any, inputs: tuple[Axes, ...], out: Tensor) -> list[Axes]:
    x = inputs[0]
    weight = own_weight(t, name, m.weight, [None, x[-1]])
    y = linear_axes(x, weight, f"{name} is called with inputs of different make")
    bind(t, name, in_axis=x[-1], out=weight[0])
    return [y]


def conv(t: Tracer, name: str, m: Any, inputs: tuple[Axes, ...], out: Tensor) -> list[Axes]:
    x, spatial = inputs[0], (int(n) for n in m.kernel_size)
    at = len(x) - 1 - len(m.kernel_size)
    reason = f"{name} is a convolution of {m.groups} groups"
    taps: list[Axis | None] = [(n,) for n in spatial]
    _, within = group_axes(t, x[at], m.groups, reason, own=True)
    if m.transposed:
        each = int(m.weight.shape[1])
        depthwise = m.groups > 1 and axis_size(within) == 1
        weight = own_weight(t, name, m.weight, [x[at], (each,) if depthwise else None, *taps])
    else:
        follows = m.groups > 1 and axis_size(within) == 1
        made = normal((*x[at], int(m.weight.shape[0]) // m.groups)) if follows else None
        weight = own_weight(t, name, m.weight, [made, within, *taps])
    y, _ = conv_axes(t, x, weight, out, m.groups, transposed=m.transposed, reason=reason, own=True)
    if at == 0:
        for axis in (x[0], y[0]):
            fix_sizes(axis, f"{name} is called without a batch dimension")
    bind(t, name, in_axis=x[at], out=y[at])
    return [y]


def follower(t: Tracer, name: str, m: Any, inputs: tuple[Axes, ...], out: Tensor) -> list[Axes]:
    """Norms and per-channel activations."""
    x = inputs[0]
    reason = f"{name} is called with inputs of different make"
    if isinstance(m, (nn.LayerNorm, nn.RMSNorm)):
        own: Axes = x[len(x) - len(m.normalized_shape) :]
        bind(t, name, in_axis=x[-1], **{f"in_axis_{i}": axis for i, axis in enumerate(own[:-1])})
    elif isinstance(m, nn.PReLU) and m.num_parameters == 1:
        return [x]
    else:
        at = 1 if not isinstance(m, CHANNEL_NORMS[3:]) else len(x) - 1 - int(type(m).__name__[-2])
        at = at if len(x) > 1 else 0
        own = (x[at],)
        if isinstance(m, nn.GroupNorm):
            group_axes(t, x[at], m.num_groups, f"{name} normalises in {m.num_groups} groups", own=True)
        bind(t, name, in_axis=x[at])
    for tensor in (*m._parameters.values(), *m._buffers.values()):
        if tensor is not None and tensor.dim() == len(own):
            t.own(tensor, own, reason)
    return [tuple(map(normal, x))]


def recurrent(t: Tracer, name: str, m: Any, inputs: tuple[Axes, ...], out: Any) -> tuple[list[Axes], list[Axis]]:
    results = tensors_in(out)
    x, directions = inputs[0], 2 if m.bidirectional else 1
    known = t.graph.bindings.get(name)
    hidden: list[Axis] = (
        known["hidden"] if known else [t.new_size(f"{name}.l{i}", m.hidden_size) for i in range(m.num_layers)]
    )
    # With a projection, what an LSTM answers and its h are of another size than its cells; one for all layers.
    project: Axis | None = None
    if m.proj_size:
        project = known["project"] if known else t.new_size(f"{name}.proj", m.proj_size)
    bind(t, name, hidden=hidden, in_axis=x[-1], **({"project": project} if project else {}))

    def tie_layers() -> None:
        for axis in hidden[1:]:
            unify(hidden[0], axis, f"the final states of {name} are read as one tensor")

    packed = len(results) > (3 if isinstance(m, nn.LSTM) else 2)
    for i, given in enumerate(inputs[1:] if not packed else inputs[4:]):
        if project is None or i:
            tie_layers()
        unify(project if project and not i else hidden[0], given[-1], f"{name} is given its initial state")
        for axis in given[:-1]:
            fix_sizes(axis, f"{name} is given its initial state")
    # A packed output is its data and, without notes of their own, three tensors of indices.
    first_state = len(results) - (2 if isinstance(m, nn.LSTM) else 1)
    if m.num_layers > 1:
        for state in results[first_state + bool(project) :]:
            # Final states of all layers come in one tensor: only where somebody reads it need the layers agree.
            t.on_use(state, tie_layers)
    y = (*x[:-1], make_axis(directions, *(project or hidden[-1])))
    indices = [t.fixed_axes(s) for s in results[1:first_state]]
    last = [project or hidden[-1], hidden[-1]]
    states = [(*((int(n),) for n in s.shape[:-1]), axis) for s, axis in zip(results[first_state:], last, strict=False)]
    return [y, *indices, *states], [*hidden, *([project] if project else [])]


def cell(t: Tracer, name: str, m: Any, inputs: tuple[Axes, ...], out: Any) -> tuple[list[Axes], list[Axis]]:
    """One step of a recurrent layer: input and, where given, state (and cell state)."""
    gates = {nn.RNNCell: 1, nn.GRUCell: 3, nn.LSTMCell: 4}[type(m)]
    known = t.known(m.weight_hh)
    hidden = normal(known[1]) if known else t.new_size(name, m.hidden_size)
    rows = make_axis(gates, *hidden)
    reason = f"{name} is called with inputs of different make"
    t.own(m.weight_ih, (rows, inputs[0][-1]), reason)
    t.own(m.weight_hh, (rows, hidden), reason)
    for bias in (m.bias_ih, m.bias_hh):
        if bias is not None:
            t.own(bias, (rows,), reason)
    for state in inputs[1:]:
        unify(hidden, state[-1], reason)
    bind(t, name, in_axis=inputs[0][-1], out=hidden, gates=gates)
    return [(*inputs[0][:-1], hidden)] * len(tensors_in(out)), [hidden]


def embedding(t: Tracer, name: str, m: Any, inputs: tuple[Axes, ...], out: Tensor) -> list[Axes]:
    weight = own_weight(t, name, m.weight, [(m.num_embeddings,), None])
    fix_sizes(weight[0], f"the entries of {name} are named by indices")
    bind(t, name, out=weight[1])
    return [(*inputs[0], weight[1])]


def attention(t: Tracer, name: str, m: Any, inputs: tuple[Axes, ...], out: Any) -> tuple[list[Axes], list[Axis]]:
    """nn.MultiheadAttention: heads, the size of each head's queries and keys, and that of its values are apart."""
    query, key, value = (inputs[0], *inputs[1:3]) if len(inputs) > 2 else (inputs[0],) * 3
    known = t.graph.bindings.get(name)
    if known is None:
        heads = t.new_size(f"{name}.heads", m.num_heads)
        head_size = t.new_size(f"{name}.head_size", m.head_dim)
        value_size = t.new_size(f"{name}.value_size", m.head_dim)
        made = t.new_size(f"{name}.out_proj", m.embed_dim)
    else:
        heads, head_size, value_size, made = (known[k] for k in ("heads", "head_size", "value_size", "out"))
    reason = f"{name} is called with inputs of different make"
    bind(
        t, name, heads=heads, head_size=head_size, value_size=value_size,
        in_axis=query[-1], key_axis=key[-1], value_axis=value[-1], out=made,
    )  # fmt: skip
    inner, values = make_axis(*heads, *head_size), make_axis(*heads, *value_size)
    rows = concatenated([inner, inner, values])
    if m._qkv_same_embed_dim:
        for other in (key[-1], value[-1]):
            unify(query[-1], other, f"{name} projects queries, keys and values by one matrix")
        t.own(m.in_proj_weight, (rows, query[-1]), reason)
    else:
        for weight, row, x in ((m.q_proj_weight, inner, query), (m.k_proj_weight, inner, key)):
            t.own(weight, (row, x[-1]), reason)
        t.own(m.v_proj_weight, (values, value[-1]), reason)
    if m.in_proj_bias is not None:
        t.own(m.in_proj_bias, (rows,), reason)
    if m.bias_k is not None:
        t.own(m.bias_k, ((1,), (1,), inner), reason)
        t.own(m.bias_v, ((1,), (1,), values), reason)
    t.own(m.out_proj.weight, (made, values), reason)
    if m.out_proj.bias is not None:
        t.own(m.out_proj.bias, (made,), reason)
    results = tensors_in(out)
    axes: list[Axes] = [(*query[:-1], made)]
    for weights in results[1:]:
        per_head = weights.dim() == len(query) + 1
        noted: list[Axis] = [(int(n),) for n in weights.shape]
        if per_head:
            noted[-3] = heads
        axes.append(tuple(noted))
    return axes, [heads, head_size, value_size]


def mel(t: Tracer, name: str, m: Any, inputs: tuple[Axes, ...], out: Tensor) -> list[Axes]:
    x = inputs[0]
    fix_sizes(x[-2], f"{name} expects all frequency bins")
    known = t.graph.bindings.get(name)
    made = known["out"] if known else t.new_size(name, m.n_mels)
    bind(t, name, out=made)
    return [(*x[:-2], made, x[-1])]


def elementwise(t: Tracer, name: str, m: Any, inputs: tuple[Axes, ...], out: Any) -> list[Axes]:
    if isinstance(m, (LogCompression, FixedScaling)) and len(inputs[0]) > 1:
        bind(t, name, in_axis=inputs[0][1])
    return [inputs[0]]


def pool(t: Tracer, name: str, m: Any, inputs: tuple[Axes, ...], out: Any) -> list[Axes]:
    return pooled(inputs[0], tensors_in(out)) or opaque(t, name, m, inputs, out)


def pooled(x: Axes, results: list[Tensor]) -> list[Axes] | None:
    """Pooling keeps every dimension that it does not change; a learned one must be among the kept."""
    made = []
    for out in results:
        axes = []
        for axis, n in zip(x, out.shape, strict=True):
            if axis_size(axis) != n and any(isinstance(f, Size) for f in axis):
                return None
            axes.append(axis if axis_size(axis) == n else (int(n),))
        made.append(tuple(axes))
    return made


def opaque(t: Tracer, name: str, m: Any, inputs: tuple[Axes, ...], out: Any, reason: str | None = None) -> list[Axes]:
    fixed_input(t, inputs, reason or f"{name} is a {type(m).__name__}")
    return [t.fixed_axes(x) for x in tensors_in(out)]


RULES: list[tuple[Any, Callable[..., Any]]] = [
    (nn.Linear, linear),
    (CONVS, conv),
    ((*CHANNEL_NORMS, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.PReLU), follower),
    ((nn.RNN, nn.GRU, nn.LSTM), recurrent),
    (CELLS, cell),
    (nn.Embedding, embedding),
    (nn.MultiheadAttention, attention),
    (MelFilterBank, mel),
    (POOLS, pool),
    (ELEMENTWISE_LAYERS, elementwise),
]


def on_layer(t: Tracer, name: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
    """Note what a layer's outputs are made of, and how its own sizes are bound."""
    tensors = tensors_in((args, kwargs))
    inputs = tuple(t.axes(x) for x in tensors)
    rule = next((r for kinds, r in RULES if isinstance(module, kinds)), opaque)
    hidden: list[Axis] = []
    if rule in (recurrent, cell, attention):
        outputs, hidden = rule(t, name, module, inputs, out)
    else:
        outputs = rule(t, name, module, inputs, out)
    name_sizes(t, name, module)
    for x, axes in zip(tensors_in(out), outputs, strict=False):
        t.note(x, axes)
    if isinstance(out, Tensor):
        t.lead(out, _trail(t, name, module, tensors))
    t.record(
        Op(name, type(module).__name__, module, inputs, tuple(outputs), tuple(hidden), shared=t.shared(name, module))
    )


def _trail(t: Tracer, name: str, module: nn.Module, inputs: list[Tensor]) -> Trail | None:
    """Where a layer's features come from: itself, or the layer that made those that it treats each by itself."""
    depthwise = isinstance(module, CONVS) and module.groups == module.in_channels > 1
    if isinstance(module, (nn.Linear, *CONVS)) and not depthwise:
        return Trail(name)
    before = t.trail(inputs[0]) if len(inputs) == 1 else None
    each = (*CHANNEL_NORMS, *ELEMENTWISE_LAYERS, nn.PReLU, *POOLS)
    if before is None or isinstance(module, SOFTMAX) or not (depthwise or isinstance(module, each)):
        return None
    return before.onward(name if isinstance(module, CHANNEL_NORMS) else "")
