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
    "Hardshrink": 2,
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
    "Softmax2d": 5,
    "Softmin": 6,
    "Softshrink": 2,
    "Tanhshrink": 8,
    "LogSoftmax": 5,
}
"""Per output element; those beyond the published ones cost 0 in ``paper`` (but Softmax 4n − 1 a row)."""

SIGMOID, TANH, SOFTMAX = (ACTIVATIONS[name] for name in ("Sigmoid", "Tanh", "Softmax"))

_ELEMENTARY = _names(
    """
    abs absolute acos acosh add angle arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan atan2
    atanh ceil clamp clampmax clampmin clip cos cosh deg2rad digamma div divide eq erf erfc erfinv exp exp2 expm1
    fix floatpower floor floordiv floordivide fmax fmin fmod ge greater greaterequal gt heaviside hypot i0 iadd idiv
    imod imul ipow isfinite isinf isnan isneginf isposinf isub itruediv ldexp le less lessequal lgamma log log10
    log1p log2 lt maximum minimum mod mul multiply ne neg negative notequal pow rad2deg radd reciprocal remainder
    rmod rmul round rpow rsqrt rsub rtruediv sgn sign sin sinh specialdigamma specialerf specialerfc specialerfinv
    specialexp2 specialexpm1 specialgammaln speciali0 speciali0e speciali1 speciali1e speciallog1p specialround sqrt
    square sub subtract tan truediv truedivide trunc where frexp gcd lcm nextafter igamma igammac polygamma
    specialairyai specialbesselj0 specialbesselj1 specialbessely0 specialbessely1 specialerfcx specialgammainc
    specialgammaincc specialmodifiedbesseli0 specialmodifiedbesseli1 specialmodifiedbesselk0 specialmodifiedbesselk1
    specialndtr specialndtri speciallogndtr specialpolygamma specialpsi specialzeta
    specialscaledmodifiedbesselk0 specialscaledmodifiedbesselk1 specialsphericalbesselj0
    """
)

PER_INPUT = {
    "sum": 1, "nansum": 2, "nanmean": 2, "sumtosize": 1, "median": 1, "nanmedian": 1, "kthvalue": 1, "mode": 1,
    "cummax": 1, "cummin": 1, "logcumsumexp": 4, "aminmax": 2, "countnonzero": 1, "equal": 1, "bincount": 1,
    "histc": 2, "trace": 1, "trapezoid": 3, "trapz": 3, "frobeniusnorm": 2, "linalgvectornorm": 2,
    "renorm": 3, "normexceptdim": 2, "adaptiveavgpool3d": 1, "adaptivemaxpool3d": 1,
    "speciallogsumexp": 4, "l1loss": 3, "mseloss": 3, "mean": 1, "prod": 1, "cumsum": 1, "cumprod": 1, "amax": 1,
    "amin": 1, "max": 1, "min": 1, "argmax": 1, "argmin": 1, "topk": 1, "any": 1, "all": 1, "norm": 2,
    "vectornorm": 2, "logsumexp": 4, "var": 4, "std": 4, "varmean": 4, "stdmean": 4, "batchnorm": 2, "layernorm": 7,
    "groupnorm": 7, "instancenorm": 7, "rmsnorm": 4, "normalize": 3, "adaptiveavgpool1d": 1, "adaptiveavgpool2d": 1,
    "adaptivemaxpool1d": 1, "adaptivemaxpool2d": 1, "crossentropy": 6, "nllloss": 1, "kldiv": 4, "smoothl1loss": 5,
    "huberloss": 5, "binarycrossentropy": 7, "binarycrossentropywithlogits": 8, "uniqueconsecutive": 1,
    "segmentreduce": 1, "softmarginloss": 5, "hingeembeddingloss": 8, "marginrankingloss": 6,
    "gaussiannllloss": 8, "poissonnllloss": 5, "nativebatchnorm": 2,
    "nativelayernorm": 7, "nativegroupnorm": 7, "fusedrmsnorm": 4,
}  # fmt: skip
"""Function → FLOPs per element of its first input. A variance: mean, difference, square, mean.

Losses with their mean: soft margin log(1 + exp(−y·x)); hinge two choices by the target, margin − x, 0 the least, a sum;
ranking −y(a − b) + margin, 0 the least; Gaussian log v + (x − μ)²/v, halved, v at least ε; Poisson x − y·log(x + ε).
"""

PER_OUTPUT = (
    dict.fromkeys(_ELEMENTARY, 1)
    | {
        "lerp": 3,
        "nantonum": 1,
        "diff": 1,
        "sinc": 3,
        "frac": 2,
        "logit": 3,
        "speciallogit": 3,
        "specialexpit": 3,
        "specialsinc": 3,
        "xlogy": 2,
        "specialxlogy": 2,
        "specialxlog1py": 3,
        "specialentr": 3,
        "logaddexp": 4,
        "logaddexp2": 4,
        "isclose": 4,
        "cross": 3,
        "linalgcross": 3,
        "cumulativetrapezoid": 4,  # a sum, half of it, times a step, added
        "fakequantizepertensoraffine": 7,  # scaled, shifted, rounded, two limits, shifted and scaled back
        "fakequantizeperchannelaffine": 7,
        "polar": 4,  # a cosine, a sine, two products
        "gumbelsoftmax": 8,
        "rrelu": 4,
        "specialsoftmax": 5,
        "speciallogsoftmax": 5,
    }
    | {name.lower(): price for name, price in ACTIVATIONS.items()}
)
"""Function → FLOPs per output element."""

FREE_FUNCTIONS = _names(
    """
    adjoint aliascopy alphadropout and arange argwhere asarray asstrided asstridedcopy asstridedscatter astensor
    atleast1d atleast2d atleast3d bartlettwindow bernoulli bfloat16 binomial bitwiseand bitwiseleftshift
    bitwisenot bitwiseor bitwiserightshift bitwisexor blackmanwindow blockdiag bool broadcasttensors broadcastto
    byte cartesianprod cat cauchy cdouble cfloat chalf channelshuffle char chunk clone columnstack combinations
    complex concat concatenate conj conjphysical constantpadnd contiguous copy copysign cpu cuda data
    dequantize detach detachcopy device diag diagembed diagflat diagonal diagonalcopy diagonalscatter dim double
    dropout dropout1d dropout2d dropout3d dsplit dstack dtype embedding empty emptylike emptypermuted
    emptystrided expand expandas expandcopy exponential eye featurealphadropout featuredropout fftfftfreq
    fftfftshift fftifftshift fftrfftfreq fill filldiagonal flatten flip fliplr flipud float frombuffer fromnumpy
    full fulllike gather geometric getattr getitem h half hammingwindow hannwindow hsplit hstack imag indexcopy
    indexfill indexput indexselect int invert iscomplex isfloatingpoint
    isreal item kaiminguniform kaiserwindow len linalgdiagonal linspace logicaland logicalnot
    logicalor logicalxor lognormal logspace long lshift luunpack masked maskedfill maskedscatter maskedselect
    maxunpool1d maxunpool2d maxunpool3d meshgrid mh moveaxis movedim mt multinomial narrow narrowcopy
    nativechannelshuffle nativedropout ndimension nelement newempty newfull newones newzeros nonzero
    nonzerostatic normal numel numpy onehot ones oneslike or packpaddedsequence pad padpackedsequence permute
    permutecopy pinmemory pixelshuffle pixelunshuffle poisson positive put rand randint randintlike randlike
    randn randnlike random randperm range ravel real repeat repeatinterleave requiresgrad reshape
    reshapealiascopy reshapeas resize resizeas resolveconj resolveneg roll rot90 rowstack rshift scalartensor
    scatter select selectcopy selectscatter setitem shape short signbit size slicecopy slicescatter
    sparsecootensor split splitcopy splitwithsizes splitwithsizescopy squeeze squeezecopy stack swapaxes
    swapdims t take takealongdim tcopy tensor tensorsplit tile to todense tolist tomkldnn topaddedtensor
    tosparse transpose transposecopy tril trilindices triu triuindices type typeas unbind unbindcopy unflatten
    unfold unfoldcopy uniform unravelindex unsafechunk unsafesplit unsafesplitwithsizes unsqueeze unsqueezecopy
    view viewas viewascomplex viewascomplexcopy viewasreal viewasrealcopy viewcopy vsplit vstack weightnorm xor
    zero zeros zeroslike
    """
)
"""Views, copies and other moves of data, constants, random numbers, logic on bits, questions about shapes, and what is
folded into weights: 0 FLOPs, which is said here and no omission."""

COMPLEX_PER_OUTPUT = {
    "add": 2, "sub": 2, "rsub": 2, "iadd": 2, "radd": 2, "isub": 2, "neg": 2, "abs": 4, "absolute": 4, "angle": 1,
    "square": 5, "reciprocal": 6, "exp": 5, "log": 6, "sgn": 6, "sign": 6, "where": 1, "eq": 2, "ne": 2,
}  # fmt: skip
"""Function → real FLOPs per output where numbers are complex: |z| is two squares, a sum and a root; e^z an exponential,
a cosine, a sine and two products; log z a modulus, a logarithm and an angle. Others cost twice what real ones do."""
