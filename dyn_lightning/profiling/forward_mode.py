"""What torch has to do otherwise for forward-mode tangents to show which outputs depend on which inputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


class OpenDerivatives(TorchFunctionMode):
    """Gives functions whose derivative is zero in places others that depend on the same elements everywhere."""

    def __torch_function__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _RECTIFIERS:
            return nn.functional.leaky_relu(args[0], 0.5)
        if func in _RECTIFIERS_IN_PLACE:
            return nn.functional.leaky_relu_(args[0], 0.5)
        pool = _MAXIMA.get(func)
        window = dict(zip(("kernel_size", "stride", "padding", "dilation"), args[1:], strict=False)) | (kwargs or {})
        if pool is not None and {*_numbers(window.pop("dilation", 1))} == {1}:
            names = ("kernel_size", "stride", "padding", "ceil_mode")
            return pool(args[0], **{name: value for name, value in window.items() if name in names})
        return func(*args, **(kwargs or {}))


_F = nn.functional
_RECTIFIERS = {torch.relu, Tensor.relu, _F.relu, _F.relu6, _F.hardtanh, _F.hardswish, _F.hardsigmoid, _F.threshold}
_RECTIFIERS_IN_PLACE = {torch.relu_, Tensor.relu_}
_MAXIMA: dict[object, Callable[..., Tensor]] = {
    torch.max_pool1d: _F.avg_pool1d,
    torch.max_pool2d: _F.avg_pool2d,
    _F.max_pool1d: _F.avg_pool1d,
    _F.max_pool2d: _F.avg_pool2d,
}


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make new tensors of floats of this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Without fused kernels: some cannot be differentiated forwards, or mix neighbouring outputs by rounding."""
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
