"""What the price of a function's call hangs on besides the dimensions of its tensors: see ``Op.detail``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dyn_lightning.graph.attention import attention_detail
from dyn_lightning.graph.axes import axis_size
from dyn_lightning.graph.call import Call
from dyn_lightning.graph.layers import UNKNOWN_FORM
from dyn_lightning.graph.products import equation_of
from dyn_lightning.graph.transforms import dims_of, transform_of


def detail_of(c: Call) -> Any:
    """The detail of a call; None where its dimensions say all, or where it is called in a form that is not known."""
    find = transform_of if c.name.startswith("fft_") else _DETAILS.get(c.name)
    try:
        return None if find is None else find(c)
    except UNKNOWN_FORM:
        return None


def runs_of_vmap(tensors: Sequence[Tensor]) -> int:
    """How often a call inside torch.vmap really runs: the product of the dimensions taken off its tensors."""
    level = torch._C._functorch.maybe_current_level()
    if level is None:
        return 1
    runs: dict[int, int] = {}
    for x in tensors:
        while torch._C._functorch.is_batchedtensor(x):
            inside = torch._C._functorch.get_unwrapped(x)
            runs[torch._C._functorch.maybe_get_level(x)] = inside.shape[torch._C._functorch.maybe_get_bdim(x)]
            x = inside
    return math.prod(runs.values())


def _pool(c: Call) -> int:
    position = 2 if c.name.startswith("lp_") else 1
    kernel, spatial = c.argument(position, "kernel_size"), int(c.name[-2])
    return int(kernel) ** spatial if isinstance(kernel, int) else math.prod(int(k) for k in kernel)


def _tensordot(c: Call) -> tuple[int, ...]:
    """The dimensions of the first tensor that are summed over."""
    dims, n = c.argument(2, "dims", default=2), len(c.inputs[0])
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    return tuple(range(n - dims, n)) if isinstance(dims, int) else dims_of(dims[0], n)


def _istft(c: Call) -> int:
    return int(c.argument(1, "n_fft"))


def _interpolate(c: Call) -> str:
    mode = str(c.argument(3, "mode", default="nearest"))
    return f"{mode}, antialias" if c.argument(6, "antialias", default=False) else mode


def _upsample(c: Call) -> str:
    return str(c.argument(3, "mode", default="nearest"))


def _grid_sample(c: Call) -> str:
    return str(c.argument(2, "mode", default="bilinear"))


def _scaled(c: Call) -> bool:
    """addcmul and addcdiv: whether what is added has a factor."""
    return c.argument(3, "value", default=1) != 1


def _along(position: int) -> Callable[[Call], int | None]:
    """The full length of the dimension that is gone through; None where that is learned or it is all of them."""

    def length(c: Call) -> int | None:
        dim = c.argument(position, "dim", default=-1)
        if not c.inputs or not c.inputs[0]:
            return 1
        return axis_size(c.inputs[0][dim]) if isinstance(dim, int) and not isinstance(dim, bool) else None

    return length


def _quantile(c: Call) -> int:
    dim = c.argument(2, "dim")
    return math.prod(map(axis_size, c.inputs[0])) if dim is None else axis_size(c.inputs[0][dim])


def _unique(c: Call) -> int | str:
    dim = c.argument(4, "dim")
    return "all" if dim is None else int(dim)


def _histogram(c: Call) -> str:
    return "edges" if isinstance(c.argument(1, "bins"), Tensor) else "number"


def _qr(c: Call) -> str:
    """How much of Q is made: "reduced", "complete" or, "r", nothing."""
    if c.name == "qr":
        return "reduced" if c.argument(1, "some", default=True) else "complete"
    return str(c.argument(1, "mode", default="reduced"))


def _svd(c: Call) -> str:
    """How much of U and V is made: "reduced", "complete" or, "values", nothing."""
    if c.name == "linalg_svd":
        return "complete" if c.argument(1, "full_matrices", default=True) else "reduced"
    if not c.argument(2, "compute_uv", default=True):
        return "values"
    return "reduced" if c.argument(1, "some", default=True) else "complete"


def _spectral(c: Call) -> bool:
    """Whether a norm is one of singular values."""
    order = c.argument(1, "ord", default=None if c.name == "linalg_norm" else "fro")
    dims = c.argument(2, "dim", default=None if c.name == "linalg_norm" else (-2, -1))
    of_matrices = len(c.inputs[0]) == 2 if dims is None else not isinstance(dims, int) and len(dims) == 2
    return of_matrices and order in (2, -2, "nuc")


def _triplet(c: Call) -> str | None:
    """Whether the third distance is taken; None for a distance of the caller's own."""
    if c.name == "triplet_margin_loss":
        swap = c.argument(6, "swap", default=False)
    elif c.argument(3, "distance_function") is not None:
        return None
    else:
        swap = c.argument(5, "swap", default=False)
    return "swap" if swap else "plain"


def _local(c: Call) -> int:
    return int(c.argument(1, "size"))


def _repeats(c: Call) -> int:
    """The exponent of a matrix."""
    return abs(int(c.argument(1, "n")))


def _bags(c: Call) -> tuple[str, bool]:
    return str(c.argument(6, "mode", default="mean")), c.argument(8, "per_sample_weights") is not None


_DETAILS: dict[str, Callable[[Call], Any]] = {
    "einsum": equation_of,
    "multi_head_attention_forward": attention_detail,
    **{f"{kind}_pool{n}d": _pool for kind in ("max", "avg", "lp") for n in (1, 2, 3)},
    "tensordot": _tensordot,
    "stft": _istft,
    "istft": _istft,
    "interpolate": _interpolate,
    "upsample": _upsample,
    "grid_sample": _grid_sample,
    **dict.fromkeys(("addcmul", "addcdiv"), _scaled),
    **dict.fromkeys(("argsort", "sort"), _along(1)),
    "msort": lambda c: axis_size(c.inputs[0][0]),
    **dict.fromkeys(("quantile", "nanquantile"), _quantile),
    "unique": _unique,
    "histogram": _histogram,
    **dict.fromkeys(("qr", "linalg_qr"), _qr),
    **dict.fromkeys(("svd", "linalg_svd"), _svd),
    **dict.fromkeys(("linalg_norm", "linalg_matrix_norm"), _spectral),
    **dict.fromkeys(("triplet_margin_loss", "triplet_margin_with_distance_loss"), _triplet),
    **{f"fractional_max_pool{n}d": _pool for n in (2, 3)},
    "local_response_norm": _local,
    "embedding_bag": _bags,
    **dict.fromkeys(("matrix_power", "linalg_matrix_power"), _repeats),
}
