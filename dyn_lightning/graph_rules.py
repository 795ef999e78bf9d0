"""What layers and functions do to the dimensions of their inputs (see :mod:`dyn_lightning.graph`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from dyn_lightning.features.spectral import LogCompression, MelFilterBank, Spectrogram
from dyn_lightning.graph import Axis, Op, Size, Tracer, axis_size, axis_sizes, make_axis, tie_axes

Axes = tuple[Axis, ...]

_CONVS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
_ELEMENTWISE_LAYERS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.LogSigmoid,
    nn.Tanh, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Softmax, nn.LogSoftmax,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.Identity, LogCompression,
)  # fmt: skip
_POOL_LAYERS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
_LEAVES = (
    nn.Linear, *_CONVS, nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.PReLU, nn.GRU, nn.LSTM,
    MelFilterBank, Spectrogram, *_POOL_LAYERS, *_ELEMENTWISE_LAYERS,
)  # fmt: skip


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is taken as a whole, rather than by the functions that it calls."""
    return isinstance(module, _LEAVES)


def on_layer(t: Tracer, name: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
    """Note what a layer's outputs are made of, and how its own sizes are bound."""
    tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    inputs = tuple(t.axes(x) for x in tensors)
    rule = next((r for kinds, r in _LAYER_RULES if isinstance(module, kinds)), None)
    if rule is None:
        outputs, hidden = _as_input(t, name, module, inputs, out), ()
    elif rule is _recurrent:
        outputs, hidden = _recurrent(t, name, module, inputs, out)
    else:
        outputs, hidden = rule(t, name, module, inputs, out), ()
    results = [x for x in pytree.tree_leaves(out) if isinstance(x, Tensor)]
    for x, axes in zip(results, outputs, strict=False):
        t.note(x, axes)
    t.record(Op(name, type(module).__name__, module, inputs, tuple(outputs), tuple(hidden)))


def _bind(t: Tracer, name: str, **new: Any) -> dict[str, Any]:
    """A layer's binding; a layer that is called again must meet the sizes that it met before."""
    bound = t.graph.bindings.setdefault(name, new)
    if bound is not new and new.get("in_axis") is not None:
        tie_axes([bound["in_axis"], new["in_axis"]], f"{name} is called with inputs of different make")
    return bound


def _fixed_axis(t: Tracer, name: str, axis: Axis, reason: str) -> None:
    for size in axis_sizes(axis):
        size.fix(reason)
    t.graph.fixed.setdefault(name, reason)


def _as_input(t: Tracer, name: str, module: nn.Module, inputs: tuple[Axes, ...], out: Any) -> list[Axes]:
    if isinstance(module, LogCompression):
        _bind(t, name, in_axis=inputs[0][1])
    return [inputs[0]]


def _produced(t: Tracer, name: str, full_size: int, in_axis: Axis) -> Size:
    known = t.graph.bindings.get(name)
    size = known["out"] if known else t.new_size(name, full_size)
    _bind(t, name, out=size, in_axis=in_axis)
    return size


def _linear(t: Tracer, name: str, module: Any, inputs: tuple[Axes, ...], out: Tensor) -> list[Axes]:
    x = inputs[0]
    return [(*x[:-1], (_produced(t, name, module.out_features, x[-1]),))]


def _conv(t: Tracer, name: str, module: Any, inputs: tuple[Axes, ...], out: Tensor) -> list[Axes]:
    x, channels = inputs[0], out.dim() - len(module.kernel_size) - 1
    rest = tuple((int(n),) for n in out.shape[channels + 1 :])
    if module.groups == 1:
        made: Axis = (_produced(t, name, module.out_channels, x[channels]),)
    elif module.groups == module.in_channels == module.out_channels:
        _bind(t, name, in_axis=x[channels])
        made = x[channels]
    else:
        _fixed_axis(t, name, x[channels], f"{name} is a convolution of {module.groups} groups")
        made = (module.out_channels,)
    if channels == 0:
        _fixed_axis(t, name, x[0] + made, f"{name} is called without a batch dimension")
    return [(*x[:channels], made, *rest)]


def _follower(t: Tracer, name: str, module: Any, inputs: tuple[Axes, ...], out: Tensor) -> list[Axes]:
    x = inputs[0]
    if isinstance(module, nn.LayerNorm):
        if len(module.normalized_shape) > 1:
            for axis in x[-len(module.normalized_shape) :]:
                _fixed_axis(t, name, axis, f"{name} normalises over several dimensions")
            return [x]
        _bind(t, name, in_axis=x[-1])
    elif isinstance(module, nn.PReLU) and module.num_parameters == 1:
        pass
    else:
        axis = x[1]
        if isinstance(module, nn.GroupNorm) and module.num_groups > 1:
            sizes = list(axis_sizes(axis))
            if len(axis) == 1 and sizes:
                sizes[0].group(module.num_groups)
            elif sizes:
                _fixed_axis(t, name, axis, f"{name} has groups over a flattened dimension")
        _bind(t, name, in_axis=axis)
    return [x]


def _recurrent(
    t: Tracer, name: str, module: Any, inputs: tuple[Axes, ...], out: Any
) -> tuple[list[Axes], list[Axis]]:
    x, directions = inputs[0], 2 if module.bidirectional else 1
    known = t.graph.bindings.get(name)
    hidden = known["hidden"] if known else [
        t.new_size(f"{name}.l{i}", module.hidden_size) for i in range(module.num_layers)
    ]  # fmt: skip
    _bind(t, name, hidden=hidden, in_axis=x[-1])
    if getattr(module, "proj_size", 0):
        for size in hidden:
            size.fix(f"{name} has a projection")
    if len(inputs) > 1 and len(inputs[1]) == len(inputs[-1]) and not known:
        for size in hidden:
            size.fix(f"{name} is given its initial state")

    def tie_layers() -> None:
        for size in hidden[1:]:
            hidden[0].tie(size)

    results = [s for s in pytree.tree_leaves(out) if isinstance(s, Tensor)]
    for state in results[1:]:
        # Final states of all layers come in one tensor: only where somebody reads it need the layers agree.
        t.on_use(state, tie_layers)
    y = (*x[:-1], make_axis(directions, hidden[-1]))
    states = [(*((int(n),) for n in s.shape[:-1]), (hidden[-1],)) for s in results[1:]]
    return [y, *states], [(size,) for size in hidden]


def _mel(t: Tracer, name: str, module: Any, inputs: tuple[Axes, ...], out: Tensor) -> list[Axes]:
    x = inputs[0]
    return [(*x[:-2], (_produced(t, name, module.n_mels, x[-2]),), x[-1])]


def _pool_layer(t: Tracer, name: str, module: Any, inputs: tuple[Axes, ...], out: Any) -> list[Axes]:
    results = [x for x in pytree.tree_leaves(out) if isinstance(x, Tensor)]
    pooled = [_pool(inputs[0], x) for x in results]
    if any(axes is None for axes in pooled):
        return _opaque(t, name, module, inputs, out)
    return [axes for axes in pooled if axes is not None]


def _opaque(t: Tracer, name: str, module: Any, inputs: tuple[Axes, ...], out: Any) -> list[Axes]:
    for axes in inputs:
        for axis in axes:
            _fixed_axis(t, name, axis, f"{name} is a {type(module).__name__}")
    results = [x for x in pytree.tree_leaves(out) if isinstance(x, Tensor)]
    return [tuple((int(n),) for n in x.shape) for x in results]


_LAYER_RULES: list[tuple[Any, Callable[..., Any]]] = [
    (nn.Linear, _linear),
    (_CONVS, _conv),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.PReLU), _follower),
    ((nn.GRU, nn.LSTM), _recurrent),
    (MelFilterBank, _mel),
    (_POOL_LAYERS, _pool_layer),
    (Spectrogram, _opaque),
]

_ELEMENTWISE = frozenset(
    """relu relu6 leaky_relu elu selu celu gelu silu mish sigmoid logsigmoid tanh softplus hardtanh hardswish
    hardsigmoid softmax log_softmax dropout dropout1d dropout2d alpha_dropout feature_dropout identity clone contiguous
    detach data real to float double half bfloat16 type type_as cpu cuda log log1p log10 log2 exp expm1 sqrt rsqrt square abs neg
    pow clamp clamp_min clamp_max nan_to_num sin cos reciprocal sign requires_grad_
    add sub mul div true_divide floor_divide maximum minimum where lerp rsub""".split()
)
_REDUCTIONS = frozenset("mean sum amax amin std var logsumexp norm prod".split())
_POOLS = frozenset(
    """max_pool1d max_pool2d avg_pool1d avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d
    adaptive_max_pool2d""".split()
)


def function_name(func: Any) -> str:
    """A torch function's name without its in-place, dunder, reflected or boolean-dispatch forms."""
    name = getattr(func, "__name__", str(func))
    if name.startswith("__") and name.endswith("__"):
        name = name[2:-2]
        if name[:1] in "ri" and name[1:] in {"add", "sub", "mul", "div", "truediv", "pow"}:
            name = name[1:]
        name = {"truediv": "div"}.get(name, name)
    elif name.endswith("_") and name != "requires_grad_":
        name = name[:-1]
    return name.removeprefix("_").removesuffix("_with_indices") if name != "_VF" else name


def on_function(t: Tracer, func: Any, args: Any, kwargs: Any, tensors: list[Tensor], out: Any) -> None:
    """Note what a function's outputs are made of; fix what an unknown function touches."""
    from dyn_lightning.graph_shapes import SHAPE_RULES

    results = [x for x in pytree.tree_leaves(out) if isinstance(x, Tensor)]
    name = function_name(func)
    if name == "get":
        name = getattr(getattr(func, "__self__", None), "__name__", name)
    if not results or not tensors or name == "set":
        return
    inputs = tuple(t.axes(x) for x in tensors)
    free = any(isinstance(f, Size) for axes in inputs for axis in axes for f in axis)
    outputs: list[Axes] | None = None
    if not free:
        outputs = [tuple((int(n),) for n in x.shape) for x in results]
    elif name in _ELEMENTWISE:
        outputs = [_broadcast(t, name, tensors, inputs, results[0])]
    elif name in _REDUCTIONS and len(tensors) == 1:
        outputs = [_reduce(inputs[0], results[0], args, kwargs)] * len(results)
    elif name in _POOLS and len(tensors) == 1:
        outputs = [_pool(inputs[0], x) for x in results]
    elif name in SHAPE_RULES:
        outputs = SHAPE_RULES[name](inputs, results, args, kwargs)
    if outputs is None:
        reason = f"the function {name} in {t.where} is not known to keep it apart"
        outputs = [tuple((int(n),) for n in x.shape) for x in results]
        for x in results:
            t.on_use(x, lambda: t.fix_axes(inputs, reason))
    for x, axes in zip(results, outputs, strict=False):
        t.note(x, axes)
    where = f"{t.path[-1]}.{name}" if t.path and t.path[-1] else name
    t.record(Op(where, name, None, inputs, tuple(outputs)))


def _broadcast(t: Tracer, name: str, tensors: list[Tensor], inputs: tuple[Axes, ...], out: Tensor) -> Axes:
    axes = []
    for dim in range(-out.dim(), 0):
        here = [x[dim] for x, s in zip(inputs, tensors, strict=True) if s.dim() >= -dim]
        axes.append(tie_axes(here, f"the function {name} in {t.where} joins it with a fixed size"))
    return tuple(axes)


def _reduce(x: Axes, out: Tensor, args: Any, kwargs: Any) -> Axes | None:
    dims = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
    if dims is None or isinstance(dims, bool):
        return () if out.dim() == 0 else None
    gone = {d % len(x) for d in ([dims] if isinstance(dims, int) else dims)}
    if out.dim() == len(x):
        return tuple((1,) if i in gone else axis for i, axis in enumerate(x))
    return tuple(axis for i, axis in enumerate(x) if i not in gone)


def _pool(x: Axes, out: Tensor) -> Axes | None:
    """Pooling keeps every dimension that it does not change; a learned one must be among the kept."""
    axes = []
    for axis, n in zip(x, out.shape, strict=True):
        if axis_size(axis) != n and any(True for _ in axis_sizes(axis)):
            return None
        axes.append(axis if axis_size(axis) == n else (int(n),))
    return tuple(axes)
