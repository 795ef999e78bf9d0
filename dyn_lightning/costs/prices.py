"""FLOPs per element of operations that treat each element alike.

Additions, products, divisions, comparisons and elementary functions (exp, log, sqrt, erf, …) are 1 FLOP each.
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


PUBLISHED_ACTIVATIONS = {
    "ReLU": 1,
    "Sigmoid": 3,
    "Tanh": 7,
    "ELU": 3,
    "SELU": 7,
    "PReLU": 4,
    "LeakyReLU": 4,
    "Softplus": 5,
}
"""Per output element, by torch.nn's class name: prices of the paper's convention, which ``full`` shares."""

ACTIVATIONS = PUBLISHED_ACTIVATIONS | {
    "CELU": 5,
    "GELU": 5,  # x/2 · (1 + erf(x/√2))
    "GLU": 4,
    "Hardsigmoid": 4,
    "Hardswish": 5,
    "Hardtanh": 2,
    "LogSigmoid": 4,
    "Mish": 13,  # x · tanh(softplus(x))
    "ReLU6": 2,
    "SiLU": 4,
    "Softsign": 3,
    "Threshold": 1,
    "Softmax": 5,  # max, subtract, exp, sum, divide
    "Softmin": 6,
    "LogSoftmax": 5,
}
"""Per output element; those beyond the published ones cost 0 in ``paper`` (but Softmax 4n − 1 a row)."""

SIGMOID, TANH, SOFTMAX = (ACTIVATIONS[name] for name in ("Sigmoid", "Tanh", "Softmax"))

_ELEMENTARY = _names(
    """
    abs absolute add ceil clamp clampmax clampmin clip cos div divide eq erf exp exp2 expm1 floor
    floordiv ge gt hypot iadd idiv imul isub itruediv le log log10 log1p log2 lt maximum minimum mul
    multiply ne neg negative pow radd reciprocal remainder rmul round rsqrt rsub rtruediv sign sin sqrt
    square sub subtract truediv truedivide where
    """
)

PER_INPUT = {
    "sum": 1, "mean": 1, "prod": 1, "cumsum": 1, "cumprod": 1, "amax": 1, "amin": 1, "max": 1, "min": 1,
    "argmax": 1, "argmin": 1, "topk": 1, "any": 1, "all": 1, "norm": 2, "vectornorm": 2, "logsumexp": 4,
    "var": 4, "std": 4, "varmean": 4, "stdmean": 4,
    "batchnorm": 2, "layernorm": 7, "groupnorm": 7, "instancenorm": 7, "rmsnorm": 4,
    "normalize": 3, "adaptiveavgpool1d": 1, "adaptiveavgpool2d": 1,
    "adaptivemaxpool1d": 1, "adaptivemaxpool2d": 1,
}  # fmt: skip
"""Function → FLOPs per element of its first input (a variance: mean, difference, square, mean)."""

PER_OUTPUT = (
    dict.fromkeys(_ELEMENTARY, 1)
    | {
        "lerp": 3,
        "nantonum": 1,
        "diff": 1,
        "sinc": 3,
        "atan2": 1,
        "sinh": 1,
        "cosh": 1,
        "softshrink": 2,
        "hardshrink": 2,
    }
    | {name.lower(): price for name, price in ACTIVATIONS.items()}
)
"""Function → FLOPs per output element."""

FREE_FUNCTIONS = _names(
    """
    alphadropout arange asstrided astensor bool byte broadcastto cat chunk clone concat concatenate contiguous copy cpu
    cuda detach device diagonal dim double dropout dropout1d dropout2d dropout3d dtype embedding empty emptylike expand
    eye expandas featurealphadropout featuredropout flatten flip float full fulllike gather getattr getitem half
    hannwindow hsplit hstack imag indexselect int isfloatingpoint item len long masked maskedfill moveaxis movedim
    narrow newempty newfull newones newzeros numel ones oneslike packpaddedsequence pad padpackedsequence permute
    pixelshuffle pixelunshuffle rand randlike randn randnlike ravel real repeat
    repeatinterleave reshape reshapeas roll select setitem shape size split splitwithsizes squeeze stack
    swapaxes swapdims t take tensorsplit tile to transpose tril triu type typeas unbind unflatten unfold
    unsqueeze view viewas viewascomplex viewasreal vsplit vstack weightnorm zeros zeroslike
    """
)
"""Views, copies, constants and questions about shapes, and what is folded into weights: 0 FLOPs."""

FREE_MODULES = _names(
    """
    AlphaDropout ChannelShuffle CircularPad1d CircularPad2d ConstantPad1d ConstantPad2d Dropout
    Dropout1d Dropout2d Dropout3d FeatureAlphaDropout Flatten Identity PixelShuffle PixelUnshuffle
    ReflectionPad1d ReflectionPad2d ReplicationPad1d ReplicationPad2d Unflatten Unfold ZeroPad1d
    ZeroPad2d
    """
)
"""torch.nn's layers that move or copy elements, or do nothing in inference: 0 FLOPs."""
