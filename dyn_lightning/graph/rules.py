"""What a call does to the dimensions of its inputs: layers by :mod:`.layers`, functions by the tables of rules."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dyn_lightning.graph.attention import attention_function
from dyn_lightning.graph.axes import Axis, Size, axis_size, axis_sizes, fix_sizes, is_free, make_axis
from dyn_lightning.graph.call import Call, Rule
from dyn_lightning.graph.declared import LAYERS, is_leaf
from dyn_lightning.graph.details import detail_of, runs_of_vmap
from dyn_lightning.graph.ints import NotedInt
from dyn_lightning.graph.layers import UNKNOWN_FORM, on_layer, pooled
from dyn_lightning.graph.notes import Axes, Op
from dyn_lightning.graph.numbers import follow
from dyn_lightning.graph.pieces import set_item
from dyn_lightning.graph.products import PRODUCT_RULES
from dyn_lightning.graph.shapes import FACTORIES, SHAPE_RULES, arange, factory
from dyn_lightning.graph.tracer import Tracer
from dyn_lightning.graph.unification import unify_all
from dyn_lightning.inputs import tensors_in
from dyn_lightning.registry import Registry

__all__ = ["function_name", "is_leaf", "on_end", "on_equal", "on_function", "on_layer", "on_modules"]

ELEMENTWISE = frozenset({
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "sigmoid", "logsigmoid", "tanh",
    "softplus", "softsign", "hardtanh", "hardswish", "hardsigmoid", "softmax", "softmin", "log_softmax", "dropout",
    "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "identity",
    "clone", "contiguous", "detach", "data", "real", "float", "double", "half", "bfloat16", "bool", "int",
    "long", "type", "cpu", "cuda", "log", "log1p", "log10", "log2", "exp", "exp2", "expm1", "sqrt",
    "rsqrt", "square", "abs", "neg", "pow", "float_power", "clamp", "clip", "clamp_min", "clamp_max", "nan_to_num",
    "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "reciprocal", "sign", "sgn",
    "requires_grad_", "erf", "floor", "ceil", "round", "trunc", "frac", "add", "sub", "subtract", "mul", "multiply",
    "div", "divide", "true_divide", "floor_divide", "remainder", "fmod", "maximum", "minimum", "fmax", "fmin",
    "where", "lerp", "rsub", "masked_fill", "gt", "lt", "ge", "le", "eq", "ne", "isnan", "isfinite", "isinf",
    "logical_and", "logical_or", "logical_not", "logical_xor", "and", "or", "xor", "invert", "bitwise_not",
    "bitwise_and", "bitwise_or", "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like",
    "normalize", "addcmul", "addcdiv", "threshold", "copy", "fill", "zero", "positive", "hypot", "bernoulli",
    "hardshrink", "softshrink", "local_response_norm", "uniform", "normal", "exponential", "random", "geometric",
    "cauchy", "log_normal", "rrelu", "gumbel_softmax", "log_sigmoid", "tanhshrink", "complex", "polar", "imag",
    "angle", "conj", "conj_physical", "resolve_conj", "resolve_neg", "erfc", "erfinv", "lgamma", "digamma", "i0",
    "logit", "xlogy", "logaddexp", "logaddexp2", "special_expit", "special_erf", "special_log1p", "deg2rad",
    "rad2deg", "copysign", "heaviside", "isclose", "arctan", "arctan2", "arcsin", "arccos", "asinh", "acosh", "atanh",
    "absolute", "negative", "fix", "sinc", "greater", "greater_equal", "less", "less_equal", "not_equal",
})  # fmt: skip
MIXING = frozenset(
    {"softmax", "softmin", "log_softmax", "normalize", "local_response_norm", "gumbel_softmax"}
)  # across elements
REDUCTIONS = frozenset({
    "mean", "sum", "amax", "amin", "max", "min", "std", "var", "logsumexp", "norm", "vector_norm", "prod", "any", "all",
    "nanmean", "nansum", "median", "argmax", "argmin", "std_mean", "var_mean", "linalg_vector_norm",
})  # fmt: skip
FUNCTION_RULES: Registry[str, Rule] = Registry("rule")
for _table in (SHAPE_RULES, PRODUCT_RULES, {"multi_head_attention_forward": attention_function}):
    for _name, _rule in _table.items():
        FUNCTION_RULES.add(_name, _rule)
POOLS = frozenset({
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "lp_pool1d",
    "lp_pool2d",
})  # fmt: skip
# A size may come from their numbers alone.
COUNTING = frozenset({"expand", "broadcast_to", "repeat", "tile", "multi_head_attention_forward"})


def on_modules(t: Tracer, modules: dict[str, nn.Module]) -> None:
    """Note which layers are not taken as the torch.nn layers that they seem to be."""
    kinds = tuple(rule.plain for rule in LAYERS.values() if not rule.followed)
    for name, module in modules.items():
        if isinstance(module, kinds) and not is_leaf(module):
            base = next(kind for kind in kinds if isinstance(module, kind))
            t.graph.fixed[name] = f"{name} is a {type(module).__name__}, not a {base.__name__} itself"


def on_equal(t: Tracer, a: Any, b: Any) -> None:
    """Two noted numbers were compared in the network's code."""
    follow(t, a, b)


def on_end(t: Tracer) -> None:
    """Fix what the layers themselves cannot follow, and sizes that neither a layer nor a bare parameter makes."""
    held = {size for axes in t.bare_parameters() for axis in axes for size in axis_sizes(axis)}
    made = {
        size
        for name, bound in t.graph.bindings.items()
        for key in t.graph.rules[name].makes
        for size in _all_sizes(bound.get(key))
    }
    read = {size for op in t.graph.all_ops() for axes in op.outputs for axis in axes for size in axis_sizes(axis)}
    for axes in t.graph.bare.values():
        for size in [size for axis in axes for size in axis_sizes(axis)]:
            if size not in read and size not in made:
                # Entries beyond those that the runs have come to, as of a table of positions, are no features.
                size.fix("no run has read it")
    for size in t.graph.sizes:
        for part in axis_sizes((size,)):
            if part not in held and part not in made:
                part.fix("nothing that is trained makes it")
    for name, bound in t.graph.bindings.items():
        for axis in (axis for key in t.graph.rules[name].whole for axis in _axes(bound.get(key))):
            whole = [f for f in axis if not isinstance(f, int)]
            if len(whole) != 1 or whole[0].root.definition is not None:
                fix_sizes(axis, f"{name} has one size, which the code behind it takes apart")


def _axes(bound: Any) -> list[Axis]:
    """What a size is bound to, as a list: one Axis, several, or none."""
    return bound if isinstance(bound, list) else [] if bound is None else [bound]


def _all_sizes(bound: Any) -> list[Size]:
    return [size for axis in _axes(bound) for size in axis_sizes(axis)]


def function_name(func: Any) -> str:
    """A torch function's name without its in-place, dunder, reflected or boolean-dispatch forms."""
    name = getattr(func, "__name__", str(func))
    if name.startswith("__") and name.endswith("__"):
        name = name[2:-2]
        if name[:1] in "ri" and name[1:] in {
            "add",
            "sub",
            "mul",
            "div",
            "truediv",
            "pow",
            "floordiv",
            "and",
            "or",
            "xor",
        }:
            name = name[1:]
        name = {"truediv": "div", "floordiv": "floor_divide", "mod": "remainder"}.get(name, name)
    elif name.endswith("_") and name != "requires_grad_":
        name = name[:-1]
    return name.removeprefix("_").removesuffix("_with_indices")


def on_function(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    """Call a function, note what its results are made of, and fix what an unknown one touches."""
    name = function_name(func)
    if name == "get":
        name = getattr(getattr(func, "__self__", None), "__name__", name)
        if name == "shape":
            return t.noted_shape(args[0])
    if name == "size" and isinstance(args[0], Tensor):
        shape, dim = t.noted_shape(args[0]), args[1] if len(args) > 1 else kwargs.get("dim")
        return shape if dim is None else shape[dim]
    if name in ("numel", "nelement"):
        whole = make_axis(*(factor for axis in t.axes(args[0]) for factor in axis))
        return NotedInt(axis_size(whole), whole)
    if name == "setitem" and len(args) == 3:
        try:
            set_item(t, *args)
        except UNKNOWN_FORM:
            t.fix_axes([t.axes(x) for x in tensors_in(args)], f"a part of a tensor is written in {t.where}{t.line}")
        return func(*args, **kwargs)
    tensors = tensors_in((args, kwargs))
    out = func(*args, **kwargs)
    results = tensors_in(out)
    if not results or name == "set":
        return out
    inputs = tuple(t.axes(x) for x in tensors)
    call = Call(t, name, args, kwargs, tensors, inputs, results)
    outputs = _outputs(call)
    if outputs is None:
        reason = call.reason
        outputs = [t.fixed_axes(x) for x in results]
        for x in results:
            t.on_use(x, lambda: t.fix_axes(inputs, reason))
    for x, axes in zip(results, outputs, strict=False):
        t.note(x, axes)
    before = t.trail(tensors[0]) if len(tensors) == len(results) == 1 and name in ELEMENTWISE - MIXING else None
    t.lead(results[0], None if before is None else before.onward())
    where = f"{t.path[-1]}.{name}" if t.path and t.path[-1] else name
    complexes = tuple(x.is_complex() for x in tensors if x.is_floating_point() or x.is_complex())
    detail, times = detail_of(call), runs_of_vmap(tensors)
    t.record(Op(where, name, None, inputs, tuple(outputs), call.hidden, detail, complexes=complexes, times=times))
    return out


def _outputs(c: Call) -> list[Axes] | None:
    """What a function's results are made of; None where no rule knows the form in which it is called."""
    try:
        if c.name in ("arange", "linspace"):
            made: list[Axes] | None = arange(c)
        elif c.name in FACTORIES:
            made = factory(c)
        elif c.name not in COUNTING and not any(is_free(axis) for axes in c.inputs for axis in axes):
            made = [c.plain(x) for x in c.results]
        else:
            made = _follow(c)
    except UNKNOWN_FORM:
        return None
    if made is None or len(made) != len(c.results):
        return None
    agree = all([axis_size(a) for a in axes] == list(x.shape) for axes, x in zip(made, c.results, strict=True))
    return made if agree else None


def _follow(c: Call) -> list[Axes] | None:
    if c.name == "where" and len(c.tensors) == 1:
        return None  # the positions of what is not zero
    if c.name in ELEMENTWISE or (c.name in ("max", "min") and len(c.tensors) > 1):
        return [_broadcast(c)]
    if c.name in REDUCTIONS and len(c.tensors) == 1:
        reduced = _reduce(c)
        return None if reduced is None else [reduced] * len(c.results)
    if c.name in POOLS and len(c.tensors) == 1:
        return pooled(c.inputs[0], c.results)
    rule = FUNCTION_RULES.get(c.name)
    return None if rule is None else rule(c)


def _broadcast(c: Call) -> Axes:
    axes: list[Axis] = []
    reason = f"the function {c.name} in {c.t.where} joins it with a fixed size{c.t.line}"
    for dim in range(-c.results[0].dim(), 0):
        here = [x[dim] for x in c.inputs if len(x) >= -dim]
        axes.append(unify_all(here, reason))
    return tuple(axes)


def _reduce(c: Call) -> Axes | None:
    x, out = c.inputs[0], c.results[0]
    position = 2 if c.name in ("norm", "vector_norm", "linalg_vector_norm") else 1
    dims = c.argument(position, "dim", "axis")
    if dims is None or isinstance(dims, bool):
        return () if out.dim() == 0 else None
    gone = {d % len(x) for d in ([dims] if isinstance(dims, int) else dims)}
    if c.name in ("argmax", "argmin", "median"):
        for d in gone:
            if is_free(x[d]):
                return None
    if out.dim() == len(x):
        return tuple((1,) if i in gone else axis for i, axis in enumerate(x))
    return tuple(axis for i, axis in enumerate(x) if i not in gone)
