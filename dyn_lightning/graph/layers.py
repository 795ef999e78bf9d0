"""Layers that are taken as a whole: what they do to Axes, and how their own sizes are bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from dyn_lightning.features.spectral import FixedScaling, LogCompression, MelFilterBank, Spectrogram
from dyn_lightning.graph.attention import ATTENTIONS, attention
from dyn_lightning.graph.axes import Axis, Size, axis_size, fix_sizes, normal
from dyn_lightning.graph.binding import bind, name_sizes, own_weight
from dyn_lightning.graph.notes import Axes, Op, Trail
from dyn_lightning.graph.products import conv_axes, group_axes, linear_axes
from dyn_lightning.graph.recurrent import CELLS, cell, recurrent
from dyn_lightning.graph.tracer import Tracer
from dyn_lightning.inputs import tensors_in
from dyn_lightning.modules.stacked_rnn import StackedRNN

CONVS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
CHANNEL_NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip
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
    StackedRNN, *CELLS, nn.Embedding, *ATTENTIONS, MelFilterBank,
)  # fmt: skip
LEAVES = (*SIZED, Spectrogram, *POOLS, *ELEMENTWISE_LAYERS)


# What a rule raises where a layer or function is called in a form that it does not know: its sizes are then fixed.
UNKNOWN_FORM = (IndexError, KeyError, TypeError, ValueError, AttributeError, AssertionError, StopIteration)


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is taken as a whole, rather than by the functions that it calls.

    A subclass may compute something else than its torch.nn class does, and so does a layer whose weight is computed
    (by a hook, as weight_norm does): these are taken by their functions.
    """
    if type(module) not in LEAVES:
        return False
    computed = [name for name in ("weight", "bias") if isinstance(vars(module).get(name), Tensor)]
    return not computed


def fixed_input(t: Tracer, inputs: tuple[Axes, ...], reason: str) -> None:
    t.fix_axes(inputs, reason)


def linear(t: Tracer, name: str, m: Any, inputs: tuple[Axes, ...], out: Tensor) -> list[Axes]:
    x = inputs[0]
    weight = own_weight(t, name, m.weight, [None, x[-1]])
    y = linear_axes(x, weight, f"{name} is called with inputs of different make{t.line}")
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
            fix_sizes(axis, f"{name} is called without a batch dimension{t.line}")
    bind(t, name, in_axis=x[at], out=y[at])
    return [y]


def follower(t: Tracer, name: str, m: Any, inputs: tuple[Axes, ...], out: Tensor) -> list[Axes]:
    """Norms and per-channel activations."""
    x = inputs[0]
    reason = f"{name} is called with inputs of different make{t.line}"
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


def embedding(t: Tracer, name: str, m: Any, inputs: tuple[Axes, ...], out: Tensor) -> list[Axes]:
    weight = own_weight(t, name, m.weight, [(m.num_embeddings,), None])
    fix_sizes(weight[0], f"the entries of {name} are named by indices")
    bind(t, name, out=weight[1])
    return [(*inputs[0], weight[1])]


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
    fixed_input(t, inputs, reason or f"{name} is a {type(m).__name__}{t.line}")
    return [t.fixed_axes(x) for x in tensors_in(out)]


RULES: list[tuple[Any, Callable[..., Any]]] = [
    (nn.Linear, linear),
    (CONVS, conv),
    ((*CHANNEL_NORMS, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.PReLU), follower),
    ((nn.RNN, nn.GRU, nn.LSTM, StackedRNN), recurrent),
    (CELLS, cell),
    (nn.Embedding, embedding),
    (ATTENTIONS, attention),
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
    try:
        if rule in (recurrent, cell, attention):
            outputs, hidden = rule(t, name, module, inputs, out)
        else:
            outputs = rule(t, name, module, inputs, out)
    except UNKNOWN_FORM:
        t.graph.bindings.pop(name, None)
        outputs = opaque(t, name, module, inputs, out, f"{name} is called in a form that is not known{t.line}")
    name_sizes(t, name, module)
    for x, axes in zip(tensors_in(out), outputs, strict=False):
        t.note(x, axes)
    if isinstance(out, Tensor):
        t.lead(out, _trail(t, name, module, tensors))
    shared, complexes = t.shared(name, module), tuple(x.is_complex() for x in tensors[:1])
    kind = type(module).__name__
    t.record(Op(name, kind, module, inputs, tuple(outputs), tuple(hidden), shared=shared, complexes=complexes))


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
