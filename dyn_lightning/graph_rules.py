"""What layers and functions do to the dimensions of their inputs (see :mod:`dyn_lightning.graph`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from dyn_lightning.features.spectral import FixedScaling, LogCompression, MelFilterBank, Spectrogram
from dyn_lightning.graph import Axis, Op, Size, Tracer, axis_size, axis_sizes, make_axis, tensors_in, tie_axes

Axes = tuple[Axis, ...]

_CONVS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
_ELEMENTWISE_LAYERS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid,
    nn.LogSigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Softmax,
    nn.LogSoftmax, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.Identity,
    LogCompression, FixedScaling,
)  # fmt: skip
_POOL_LAYERS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
_SIZED_LAYERS = (
    nn.Linear, *_CONVS, nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.PReLU, nn.GRU, nn.LSTM,
    MelFilterBank,
)  # fmt: skip
_LEAVES = (*_SIZED_LAYERS, Spectrogram, *_POOL_LAYERS, *_ELEMENTWISE_LAYERS)


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is taken as a whole, rather than by the functions that it calls.

    A subclass may compute something else than its torch.nn class does, so it is taken by its functions.
    """
    return type(module) in _LEAVES


def on_modules(t: Tracer, modules: dict[str, nn.Module]) -> None:
    """Note which layers can have no learned sizes whatever the run shows."""
    for name, module in modules.items():
        base = next((kind for kind in _SIZED_LAYERS if isinstance(module, kind)), None)
        if base is not None and not is_leaf(module):
            t.graph.fixed[name] = f"{name} is a {type(module).__name__}, not a {base.__name__} itself"


def on_end(t: Tracer, modules: dict[str, nn.Module]) -> None:
    """Fix the sizes of layers that share a parameter: cut to different sizes, it would no longer be
    shared.
    """
    holders: dict[nn.Parameter, str] = {}
    for name, module in modules.items():
        for parameter in module.parameters(recurse=False):
            other = holders.setdefault(parameter, name)
            for one, two in ((name, other), (other, name)) if other != name else ():
                bound = t.graph.bindings.get(one, {})
                sizes = [bound.get("out"), *bound.get("hidden", ()), *axis_sizes(bound.get("in_axis", ()))]
                for size in sizes:
                    if size is not None:
                        size.fix(f"{one} shares a parameter with {two or 'the network itself'}")


def on_layer(t: Tracer, name: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
    """Note what a layer's outputs are made of, and how its own sizes are bound."""
    tensors = tensors_in((args, kwargs))
    inputs = tuple(t.axes(x) for x in tensors)
    rule = next((r for kinds, r in _LAYER_RULES if isinstance(module, kinds)), None)
    hidden: list[Axis] = []
    if rule is None:
        outputs = _as_input(t, name, module, inputs, out)
    elif rule is _recurrent:
        with_state = (len(args) > 1 and args[1] is not None) or kwargs.get("hx") is not None
        outputs, hidden = _recurrent(t, name, module, inputs, out, with_state)
    else:
        outputs = rule(t, name, module, inputs, out)
    for x, axes in zip(tensors_in(out), outputs, strict=False):
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
    if isinstance(module, (LogCompression, FixedScaling)) and len(inputs[0]) > 1:
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
    for axis in x[channels + 1 :]:
        for size in axis_sizes(axis):
            size.fix(f"{name} is a convolution along it")
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
    t: Tracer, name: str, module: Any, inputs: tuple[Axes, ...], out: Any, with_state: bool
) -> tuple[list[Axes], list[Axis]]:
    if module.proj_size:
        return _opaque(t, name, module, inputs, out, f"{name} has a projection"), [
            (module.hidden_size,)
        ] * module.num_layers
    x, directions = inputs[0], 2 if module.bidirectional else 1
    known = t.graph.bindings.get(name)
    hidden = known["hidden"] if known else [
        t.new_size(f"{name}.l{i}", module.hidden_size) for i in range(module.num_layers)
    ]  # fmt: skip
    _bind(t, name, hidden=hidden, in_axis=x[-1])
    if with_state:
        for size in hidden:
            size.fix(f"{name} is given its initial state")

    def tie_layers() -> None:
        for size in hidden[1:]:
            hidden[0].tie(size)

    # A packed output is its data and, without notes of their own, three tensors of indices.
    results = tensors_in(out)
    first_state = len(results) - (2 if isinstance(module, nn.LSTM) else 1)
    for state in results[first_state:]:
        # Final states of all layers come in one tensor: only where somebody reads it need the layers agree.
        t.on_use(state, tie_layers)
    y = (*x[:-1], make_axis(directions, hidden[-1]))
    indices = [tuple((int(n),) for n in s.shape) for s in results[1:first_state]]
    states = [(*((int(n),) for n in s.shape[:-1]), (hidden[-1],)) for s in results[first_state:]]
    return [y, *indices, *states], [(size,) for size in hidden]


def _mel(t: Tracer, name: str, module: Any, inputs: tuple[Axes, ...], out: Tensor) -> list[Axes]:
    x = inputs[0]
    return [(*x[:-2], (_produced(t, name, module.n_mels, x[-2]),), x[-1])]


def _pool_layer(t: Tracer, name: str, module: Any, inputs: tuple[Axes, ...], out: Any) -> list[Axes]:
    return _pools(inputs[0], tensors_in(out)) or _opaque(t, name, module, inputs, out)


def _opaque(
    t: Tracer, name: str, module: Any, inputs: tuple[Axes, ...], out: Any, reason: str | None = None
) -> list[Axes]:
    for axes in inputs:
        for axis in axes:
            _fixed_axis(t, name, axis, reason or f"{name} is a {type(module).__name__}")
    return [tuple((int(n),) for n in x.shape) for x in tensors_in(out)]


_LAYER_RULES: list[tuple[Any, Callable[..., Any]]] = [
    (nn.Linear, _linear),
    (_CONVS, _conv),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.PReLU), _follower),
    ((nn.GRU, nn.LSTM), _recurrent),
    (MelFilterBank, _mel),
    (_POOL_LAYERS, _pool_layer),
    (Spectrogram, _opaque),
]

_ELEMENTWISE = frozenset({
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "sigmoid",
    "logsigmoid", "tanh", "softplus", "hardtanh", "hardswish", "hardsigmoid", "softmax", "log_softmax",
    "dropout", "dropout1d", "dropout2d", "alpha_dropout", "feature_dropout", "identity", "clone",
    "contiguous", "detach", "data", "real", "to", "float", "double", "half", "bfloat16", "type",
    "type_as", "cpu", "cuda", "log", "log1p", "log10", "log2", "exp", "expm1", "sqrt", "rsqrt",
    "square", "abs", "neg", "pow", "clamp", "clamp_min", "clamp_max", "nan_to_num", "sin", "cos",
    "reciprocal", "sign", "requires_grad_", "erf", "floor", "ceil", "round", "add", "sub", "mul", "div",
    "true_divide", "floor_divide", "maximum", "minimum", "where", "lerp", "rsub", "masked_fill", "gt",
    "lt", "ge", "le", "eq", "ne", "isnan", "isfinite", "logical_and", "logical_or", "logical_not",
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like",
})  # fmt: skip
_REDUCTIONS = frozenset({
    "mean", "sum", "amax", "amin", "max", "min", "std", "var", "logsumexp", "norm", "prod",
})  # fmt: skip
_POOLS = frozenset({
    "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d",
})  # fmt: skip


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
    return name.removeprefix("_").removesuffix("_with_indices")


def on_function(t: Tracer, func: Any, args: Any, kwargs: Any, tensors: list[Tensor], out: Any) -> None:
    """Note what a function's outputs are made of; fix what an unknown function touches."""
    from dyn_lightning.graph_shapes import SHAPE_RULES

    results = tensors_in(out)
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
    elif name in _ELEMENTWISE or (name in ("max", "min") and len(tensors) > 1):
        outputs = [_broadcast(t, name, tensors, inputs, results[0])]
    elif name in _REDUCTIONS and len(tensors) == 1:
        reduced = _reduce(name, inputs[0], results[0], args, kwargs)
        outputs = None if reduced is None else [reduced] * len(results)
    elif name in _POOLS and len(tensors) == 1:
        outputs = _pools(inputs[0], results)
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


def _reduce(name: str, x: Axes, out: Tensor, args: Any, kwargs: Any) -> Axes | None:
    position = 2 if name == "norm" else 1
    dims = kwargs.get("dim", kwargs.get("axis", args[position] if len(args) > position else None))
    if dims is None or isinstance(dims, bool):
        return () if out.dim() == 0 else None
    gone = {d % len(x) for d in ([dims] if isinstance(dims, int) else dims)}
    if out.dim() == len(x):
        return tuple((1,) if i in gone else axis for i, axis in enumerate(x))
    return tuple(axis for i, axis in enumerate(x) if i not in gone)


def _pools(x: Axes, results: list[Tensor]) -> list[Axes] | None:
    """Pooling keeps every dimension that it does not change; a learned one must be among the kept."""
    pooled = []
    for out in results:
        axes = []
        for axis, n in zip(x, out.shape, strict=True):
            if axis_size(axis) != n and any(True for _ in axis_sizes(axis)):
                return None
            axes.append(axis if axis_size(axis) == n else (int(n),))
        pooled.append(tuple(axes))
    return pooled
