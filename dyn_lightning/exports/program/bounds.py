"""What a program from a file may ask of memory: no more than its weights and its input justify.

Each call is made on tensors without data first (torch's ``meta`` device), which says how large its results are, and
refuses what does not fit. Then the call itself is made. Functions whose results hang on values have rules of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from dyn_lightning.exports.program.functions import is_pointwise
from dyn_lightning.exports.program.size_rules import BY_VALUE, CHECKS, RULES

BASE_BYTES, PER_INPUT_BYTE, PER_WEIGHT_BYTE = 2**28, 1024, 64
"""The results alive at one time: 256 MiB, 1,024 bytes for each of the input's, and 64 for each of the weights'."""
_LARGEST_ELEMENT = 16
_LEAST_BYTES = 2**14  # what each function counts that makes a network, so that it ends


class Allowance:
    """What one run of a program may still take.

    Args:
        inputs: of the run.
        weights: parameters and buffers of the program.
    """

    def __init__(self, inputs: Any, weights: Sequence[Tensor]) -> None:
        given = [*tensors(inputs), *weights]
        self._own = {t.untyped_storage()._cdata for t in given}
        self.limit = BASE_BYTES + PER_INPUT_BYTE * _total(tensors(inputs)) + PER_WEIGHT_BYTE * _total(weights)
        self._alive = 0
        self.by_value = False  # whether another run on the same shapes may take more

    def check(self, function: Callable[..., Any], args: Sequence[object], kwargs: Mapping[str, object]) -> None:
        """Raises RuntimeError where a call would take more than is left, and whatever a call on its shapes raises."""
        wanted, by_value = bytes_for(function, args, kwargs)
        self.by_value |= by_value
        if self._alive + wanted > self.limit:
            raise RuntimeError(
                f"it asks for {wanted / 1e9:.3g} GB beside {self._alive / 1e9:.3g} GB in use, and this network and "
                f"input justify {self.limit / 1e9:.3g} GB"
            )

    def alive(self, results: Mapping[str, object]) -> None:
        """Note the results that are in use."""
        storages = {t.untyped_storage()._cdata: t.untyped_storage() for t in tensors(list(results.values()))}
        self._alive = sum(s.nbytes() for key, s in storages.items() if key not in self._own)


class Construction(TorchDispatchMode):
    """While active, what is made may hold 1 GiB and 1,024 bytes for each of a file's, and no more.

    Args:
        file_bytes: of the weights that the network is made for; it may have been larger before it was shrunk.
    """

    def __init__(self, file_bytes: int) -> None:
        super().__init__()
        self.left = 2**30 + PER_INPUT_BYTE * file_bytes

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        keywords = kwargs or {}
        made = 0 if func._schema.is_mutable else bytes_for(func, args, keywords)[0]
        self.left -= max(made, _LEAST_BYTES)
        if self.left < 0:
            raise MemoryError("it would be far larger than its weights justify")
        return func(*args, **keywords)


def _total(given: Sequence[Tensor]) -> int:
    return sum(_bytes(t) for t in given)


def tensors(values: Any) -> list[Tensor]:
    """All tensors in nested values."""
    return [x for x in pytree.tree_leaves(values) if isinstance(x, Tensor)]


def bytes_for(function: Callable[..., Any], args: Sequence[object], kwargs: Mapping[str, object]) -> tuple[int, bool]:
    """Bytes that a call will take for what it makes, and whether this hangs on values.

    Raises:
        Exception: of any kind, where the call would fail, or could do harm.
    """
    if not isinstance(function, torch._ops.OpOverload):
        return 0, False
    schema = function._schema.arguments
    given = {a.name: a.default_value for a in schema if a.has_default_value()}
    given |= dict(zip((a.name for a in schema), args, strict=False)) | dict(kwargs)
    packet = function._overloadpacket
    with torch.no_grad(), _disable_current_modes():
        if packet in CHECKS:
            CHECKS[packet](given)
        if is_pointwise(packet):
            shapes = [t.shape for t in tensors(list(given.values()))]
            return math.prod(torch.broadcast_shapes(*shapes)) * _LARGEST_ELEMENT, False
        if (rule := RULES.get(packet)) is not None and (found := rule(given)) is not None:
            return found, packet in BY_VALUE
        shadows = {name: pytree.tree_map(_shadow, value) for name, value in given.items()}
        if "device" in shadows:
            shadows["device"] = torch.device("meta")
        if not function.has_kernel_for_dispatch_key(DispatchKey.CompositeImplicitAutograd):
            seen = {t.untyped_storage()._cdata for t in tensors(list(shadows.values()))}
            return _made(function(**shadows), seen), False
        with _Measure() as measure:
            function(**shadows)
        return measure.most, False


class _Measure(TorchDispatchMode):
    """Notes how large the largest result is that functions make inside, on ``meta`` tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        seen = {t.untyped_storage()._cdata for t in tensors((args, kwargs))}
        self.most = max(self.most, _made(result, seen))
        return result


def _made(result: Any, seen: set[int]) -> int:
    return sum(_bytes(t) for t in tensors(result) if t.untyped_storage()._cdata not in seen)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _shadow(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
