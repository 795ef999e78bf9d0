"""The functions that a program may name: forward functions of networks in torch's ``aten``, and arithmetic of sizes.

The list holds what torch.export leaves of networks (those of the tests' zoo among them) and what is like it. Nothing on
it changes a tensor in place, opens a file or reads memory by offsets that it is given. Gradients' functions and those
that torch keeps for its own use are not on it: many of them trust their integers.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from dyn_lightning.errors import ArtifactError

_POINTWISE = """_conj _conj_physical _neg_view _to_copy abs acos acosh add addcdiv addcmul alias angle asin asinh atan
atan2 atanh bitwise_and bitwise_not bitwise_or bitwise_xor ceil celu clamp clamp_max clamp_min clip clone complex conj
conj_physical contiguous copy copysign cos cosh deg2rad detach div divide elu eq erf erfc exp exp2 expm1 fill floor
floor_divide fmod frac ge gelu greater greater_equal gt hardshrink hardsigmoid hardswish hardtanh heaviside hypot imag
isfinite isinf isnan isneginf isposinf le leaky_relu lerp less less_equal lgamma lift_fresh_copy log log10 log1p log2
log_sigmoid logaddexp logaddexp2 logical_and logical_not logical_or logical_xor logit lt masked_fill maximum minimum
mish mul multiply nan_to_num ne neg negative not_equal polar positive pow rad2deg real reciprocal relu relu6
remainder resolve_conj resolve_neg round rsqrt rsub selu sgn sigmoid sign signbit silu sin sinc sinh softplus
softshrink sqrt square sub subtract tan tanh threshold to true_divide trunc view_as_complex view_as_real where
xlogy"""
_REDUCTIONS = """_log_softmax _safe_softmax _softmax all amax amin aminmax any argmax argmin argsort bucketize
count_nonzero cummax cummin cumprod cumsum dist linalg_vector_norm log_softmax logcumsumexp logsumexp max mean median
min nanmean nansum norm prod searchsorted softmax sort std std_mean sum topk var var_mean"""
_SHAPES = """_local_scalar_dense _pad_circular _pad_enum _reshape_alias _unsafe_view adjoint broadcast_to cat
channel_shuffle chunk column_stack concat concatenate constant_pad_nd diag diag_embed diagonal dstack expand expand_as
flatten flip fliplr flipud gather hstack index index_add index_fill index_put index_select item masked_scatter
masked_select meshgrid movedim narrow nonzero one_hot pad permute pixel_shuffle pixel_unshuffle ravel reflection_pad1d
reflection_pad2d reflection_pad3d repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d
reshape reshape_as roll rot90 scatter scatter_add select select_scatter slice slice_scatter split split_with_sizes
squeeze stack swapaxes swapdims sym_numel sym_size sym_storage_offset
sym_stride t take_along_dim tensor_split tile transpose tril triu unbind
unflatten unfold unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze view view_as vstack"""
_PRODUCTS = """_linalg_solve_ex addbmm addmm addmv addr baddbmm bilinear bmm cdist cosine_similarity dot einsum inner
inverse kron linalg_cross linalg_inv linalg_inv_ex linalg_matmul linalg_multi_dot linalg_solve linalg_solve_ex
linalg_vecdot linear matmul mm mv outer pairwise_distance tensordot vdot"""
_LAYERS = """_native_batch_norm_legit_no_training _upsample_bicubic2d_aa _upsample_bilinear2d_aa
_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d _weight_norm adaptive_avg_pool1d
adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
affine_grid_generator alpha_dropout avg_pool1d avg_pool2d avg_pool3d batch_norm col2im conv1d conv2d conv3d
conv_transpose1d conv_transpose2d conv_transpose3d convolution dropout embedding embedding_bag feature_dropout glu
grid_sampler grid_sampler_2d grid_sampler_3d group_norm gru gru_cell im2col instance_norm layer_norm lstm lstm_cell
max_pool1d max_pool1d_with_indices max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices prelu rms_norm
rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell scaled_dot_product_attention upsample_bicubic2d upsample_bilinear2d
upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d"""
_SPECTRA = """fft_fft fft_fft2 fft_fftn fft_fftshift fft_hfft fft_ifft fft_ifft2 fft_ifftn fft_ifftshift fft_ihfft
fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2 fft_rfftn istft stft"""
# Tensors out of nothing, or of the kind of another. (``from_file``, which is not here, opens files.)
_FACTORIES = """arange empty empty_like eye fft_fftfreq fft_rfftfreq full full_like hamming_window hann_window
linspace new_empty new_full new_ones new_zeros ones ones_like rand rand_like randn randn_like scalar_tensor
tril_indices triu_indices zeros zeros_like"""
_ALLOWED = frozenset(" ".join((_POINTWISE, _REDUCTIONS, _SHAPES, _PRODUCTS, _LAYERS, _SPECTRA, _FACTORIES)).split())

_EACH_ELEMENT = frozenset(_POINTWISE.split())
_UNUSED = ("data",)  # of packed sequences, which no trace holds and whose lengths are not checked

_LARGEST = 2**63 - 1  # of sizes in torch


def _of_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Arithmetic for sizes: of numbers alone, whose results are such as torch can hold as sizes."""

    def bounded(*values: Any) -> Any:
        if not all(isinstance(v, (bool, int, float, torch.SymInt, torch.SymFloat, torch.SymBool)) for v in values):
            raise TypeError("takes numbers alone")
        if function is operator.pow and not (abs(values[1]) <= 64 and abs(values[0]) <= _LARGEST):
            raise OverflowError("the power is too large for a size")
        result = function(*values)
        if type(result) is int and abs(result) > _LARGEST:
            raise OverflowError("the number is too large for a size")
        return result

    return bounded


def _getitem(values: Any, index: Any) -> Any:
    if not isinstance(values, (tuple, list)) or type(index) is not int:
        raise TypeError("takes one of several results by its number")
    return values[index]


_PLAIN: dict[str, Callable[..., object]] = {
    f.__name__: f
    for f in (
        *(operator.getitem, operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv),
        *(operator.mod, operator.neg, operator.pow, operator.eq, operator.ne, operator.lt, operator.le),
        *(operator.gt, operator.ge, operator.and_, operator.or_, operator.not_, math.trunc, math.ceil, math.floor),
        *(torch.sym_max, torch.sym_min, torch.sym_int, torch.sym_float, torch.sym_not, torch.sym_ite),
    )
}
_ARITHMETIC = {name: _getitem if name == "getitem" else _of_numbers(function) for name, function in _PLAIN.items()}

_INTEGERS = ("bool", "uint8", "int8", "int16", "int32", "int64")
_FLOATS = ("float16", "bfloat16", "float32", "float64", "complex32", "complex64", "complex128")
_DTYPES = frozenset((*_INTEGERS, *_FLOATS))
_LAYOUTS = frozenset({"strided"})
_MEMORY_FORMATS = frozenset({"contiguous_format", "preserve_format", "channels_last", "channels_last_3d"})
NAMED: dict[str, tuple[Any, frozenset[str]]] = {
    "dtype": (torch.dtype, _DTYPES),
    "layout": (torch.layout, _LAYOUTS),
    "memory_format": (torch.memory_format, _MEMORY_FORMATS),
}
"""What a program writes as ``{kind: name}``: its class, and the names there may be."""
# Arguments that torch takes as plain integers as well, which it then does not check; and how programs write them.
_BY_NAME = {"ScalarType": "dtype", "Layout": "layout", "MemoryFormat": "memory_format", "Device": "device"}


def is_pointwise(packet: Any) -> bool:
    """Whether a function of ``aten`` gives one element for each of its arguments', which are broadcast."""
    return packet.__name__ in _EACH_ELEMENT


def name_function(function: Any) -> str:
    """``aten.<name>.<overload>`` or the name of a function for sizes. ArtifactError for any other."""
    if isinstance(function, torch._ops.OpOverload) and function.namespace == "aten":
        name = f"aten.{function._schema.name.removeprefix('aten::')}.{function._overloadname}"
        find_function(name)
        return name
    name = getattr(function, "__name__", str(function))
    if _PLAIN.get(name) is not function:
        raise ArtifactError(f"it calls {function}, which a program cannot hold")
    return name


def find_function(name: str) -> Callable[..., object]:
    """The function of a name that :func:`name_function` gave. ArtifactError where it is not allowed."""
    if name in _ARITHMETIC:
        return _ARITHMETIC[name]
    space, _, rest = name.partition(".")
    base, _, overload = rest.partition(".")
    packet = getattr(torch.ops.aten, base, None) if space == "aten" and base.isidentifier() else None
    function = getattr(packet, overload, None) if isinstance(packet, torch._ops.OpOverloadPacket) else None
    if not isinstance(function, torch._ops.OpOverload):
        raise ArtifactError(f"names the function {name}, which this version of torch does not have")
    names = {argument.name for argument in function._schema.arguments}
    if base not in _ALLOWED or overload in _UNUSED or function._schema.is_mutable or "out" in names:
        raise ArtifactError(f"names the function {name}, which is not allowed")
    return function


def check_arguments(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """See that what torch takes as unchecked integers is given by name, in a call as JSON values.

    Raises:
        ArtifactError: names the argument.
    """
    if not isinstance(function, torch._ops.OpOverload):
        if kwargs:
            raise ArtifactError("gives a function of sizes an argument by name")
        return
    schema = {argument.name: argument for argument in function._schema.arguments}
    if len(args) > len(schema) or not kwargs.keys() <= schema.keys():
        raise ArtifactError(f"calls {function} with other arguments than it has")
    for name, value in [*zip(schema, args, strict=False), *kwargs.items()]:
        kind = str(schema[name].real_type).removeprefix("Optional[").removesuffix("]")
        if kind in _BY_NAME and value is not None:
            if not (isinstance(value, Mapping) and value.keys() == {_BY_NAME[kind]}):
                raise ArtifactError(f"calls {function} with {name}={value!r}, which is no {_BY_NAME[kind]}'s name")
        elif name in ("pin_memory", "generator") and value not in (None, False):
            raise ArtifactError(f"calls {function} with {name}, which is not allowed")


def named(kind: str, name: Any) -> Any:
    """The ``torch.<name>`` of a dtype, layout or memory format. ArtifactError where it is none that is allowed."""
    if kind not in NAMED:
        raise ArtifactError(f"names a {kind}, which is not allowed")
    cls, allowed = NAMED[kind]
    value = getattr(torch, name, None) if isinstance(name, str) and name in allowed else None
    if not isinstance(value, cls):
        raise ArtifactError(f"names torch.{name}, which is no {kind} that is allowed")
    return value
