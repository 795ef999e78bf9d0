"""Receptive field of every layer, measured: which part of the input each output depends on.

Hyper-parameters of convolutions say it for chains of them. For any topology (skips, padding by function, attention
with or without masks, recurrence, a front end) it is measured here by forward-mode differentiation: a tangent on all
of the input before some moment reaches exactly the outputs that depend on something before it. One pass answers for
all layers at once; a few more, around moments that the layers share, find where the fields begin and end.
Tangents are linear: they neither drown in rounding nor saturate, and a masked weight of zero stops them. Rectifiers
and maxima over windows, whose derivatives are zero here and there, are given others for the measurement.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._pytree import tree_map

from dyn_lightning.errors import SettingError
from dyn_lightning.inputs import call_arguments, tensors_in
from dyn_lightning.profiling.forward_mode import OpenDerivatives, default_dtype, plain_kernels


@dataclass(frozen=True)
class ReceptiveField:
    """What a layer's output at one moment depends on, in steps of the network's input (samples or frames).

    The output's own moment is where it lies when all of the layer's outputs are centred on what they use of the
    input: the middle of the window for a convolution without padding, the current step for a causal one.

    Attributes:
        left: steps before the output's moment; infinite where all of the example's past is used.
        right: steps after it; infinite where all of the example's future is used.
        stride: steps from one output to the next; None where the layer's output has no time.
    """

    left: float
    right: float
    stride: float | None

    @property
    def size(self) -> float:
        """Steps in the field."""
        return self.left + self.right + 1

    @property
    def latency(self) -> float:
        """Steps from a moment of the input to the call that gives the output about it, at worst.

        The right context has to arrive, and a call needs as much new input as lies between two outputs.
        """
        return self.right + (self.stride or 0.0)


WHOLE = ReceptiveField(math.inf, math.inf, None)


def receptive_fields(network: nn.Module, example_input: object, *, time_dim: int = -1) -> dict[str, ReceptiveField]:
    """Measure the receptive field of every module's output.

    Fields longer than the example are said to be infinite: give an example that is longer than the field.

    Args:
        network: plain torch.nn; left as it was. Its weights matter only where they are zero. Measured in float64,
            or float32 where its code does not let another type pass.
        example_input: a tensor, a tuple (positional arguments) or a dict (keyword arguments); the first tensor of
            floats is the signal, of which only the shape is used.
        time_dim: the signal's dimension of time.

    Returns:
        Qualified module name → field; "" is the network itself. Modules without tensors of floats in their output,
        and those that mix time with another dimension, are left out.

    Raises:
        SettingError: if the example holds no tensor of floats, or its time less than eight steps.
        RuntimeError: if an operation of the network cannot be differentiated forwards.
    """
    try:
        probe = _Probe(network, example_input, time_dim, torch.float64)
        probe.find_time()
    except RuntimeError:  # where the network's own code insists on float32
        probe = _Probe(network, example_input, time_dim, torch.float32)
        probe.find_time()
    found = {name: _field(probe, name) for name in probe.time_dims} | dict.fromkeys(probe.whole, WHOLE)
    return {name: found[name] for name in probe.names if name in found}


def _field(probe: _Probe, name: str) -> ReceptiveField:
    """Where the fields of a layer's outputs begin and end, from outputs whose ends lie near shared moments."""
    n, outputs = probe.length, probe.outputs[name]
    begins = [_begin(probe, name, n // 8), None]
    if begins[0] is not None:
        begins[1] = _begin(probe, name, n // 4)
    ends = [_end(probe, name, n - n // 8), _end(probe, name, n - n // 4)]
    stride = _slope(begins) or _slope(ends) or n / outputs
    # The ends of what the layer uses of the signal: the last samples may not fill a frame. Where the past has no
    # bound, it begins where it does for the first layer that has one.
    start_of = name if begins[0] is not None else next(iter(probe.bounded), None)
    start = None if start_of is None else _begin(probe, start_of, 0)
    first = 0 if start is None else start[1]
    last = (_end(probe, name, n) or (0, n - 1))[1]

    def moment(output: int) -> float:
        return (first + last) / 2 + stride * (output - (outputs - 1) / 2)

    return ReceptiveField(
        left=math.inf if begins[0] is None else moment(begins[0][0]) - begins[0][1],
        right=math.inf if ends[0] is None else ends[0][1] - moment(ends[0][0]),
        stride=stride,
    )


class _EnoughError(Exception):
    """Ends a pass early."""


_End = tuple[int, int]
"""(output, step of the input)"""


def _slope(ends: list[_End | None]) -> float:
    """Steps from one output to the next; 0 where two different outputs are not known."""
    one, other = ends
    if one is None or other is None or one[0] == other[0]:
        return 0.0
    return (other[1] - one[1]) / (other[0] - one[0])


def _begin(probe: _Probe, name: str, moment: int) -> _End | None:
    """Of the outputs that depend on nothing before a moment, the first one's first step.

    Of several outputs that begin there, as behind a repetition, the last: its past is the longest.
    """
    used = probe.after(0)[name]
    free = used & ~probe.before(moment)[name]
    if not free.any():
        return None
    output = int(free.nonzero()[0])
    low, step = moment, 1
    while low + step < probe.length and not probe.before(low + step)[name][output]:
        low, step = low + step, 2 * step
    high = min(low + step, probe.length)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if probe.before(middle)[name][output] else (middle, high)
    return int((used & ~probe.before(low)[name] & probe.before(low + 1)[name]).nonzero()[-1]), low


def _end(probe: _Probe, name: str, moment: int) -> _End | None:
    """Of the outputs that depend on nothing at a moment or after it, the last one's last step.

    Of several outputs that end there, the first: its future is the longest.
    """
    used = probe.after(0)[name]
    free = used & ~probe.after(moment)[name]
    if not free.any():
        return None
    output = int(free.nonzero()[-1])
    high, step = moment, 1
    while high - step > 0 and not probe.after(high - step)[name][output]:
        high, step = high - step, 2 * step
    low = max(high - step, 0)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if probe.after(middle)[name][output] else (low, middle)
    return int((used & ~probe.after(low + 1)[name] & probe.after(low)[name]).nonzero()[0]), low


class _Probe:
    """Passes through a copy of a network with a tangent on a part of its signal.

    Attributes:
        length: steps of the signal.
        names: modules in the order of their calls.
        time_dims: for each module whose output has time, the dimension; ``outputs``: its size.
        bounded: modules with time whose past has a bound.
        whole: modules of whose outputs each depends on all of the signal.
    """

    def __init__(self, network: nn.Module, example_input: object, time_dim: int, dtype: torch.dtype) -> None:
        self.network, self.dtype = copy.deepcopy(network).eval().to(dtype), dtype
        self.args, self.kwargs = tree_map(self._cast, call_arguments(example_input))
        self.key, signal = _signal(self.args, self.kwargs)
        self.length, self.time_dim = signal.shape[time_dim], time_dim
        if self.length < 8:
            raise SettingError(f"the example has {self.length} steps of time in dimension {time_dim}: give 8 or more")
        noise = torch.randn(2, *signal.shape, generator=torch.Generator().manual_seed(0)).to(signal)
        # Tangents may shrink at each of many steps, or grow: they start half-way to where the numbers end.
        self.signal, self.tangent = noise[0], torch.finfo(dtype).max ** 0.5 * noise[1]
        self.names: list[str] = []
        self.time_dims: dict[str, int] = {}
        self.outputs: dict[str, int] = {}
        self.whole: list[str] = []
        self.bounded: list[str] = []
        self._calls: Counter[str] = Counter()  # of a whole pass
        self._counted: Counter[str] = Counter()
        self._awaited: set[str] = set()
        self._calls_left = 0
        self._reached: dict[str, Tensor] = {}
        self._passes: dict[tuple[int, int], dict[str, Tensor]] = {}
        for name, module in self.network.named_modules():
            module.register_forward_hook(self._keep(name))

    def _cast(self, leaf: object) -> Any:
        return leaf.to(self.dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf

    def _keep(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: object, out: object) -> None:
            tensors = [x for x in tensors_in(out) if x.is_floating_point() and x.dim()]
            if not tensors:
                return
            tangent = forward_ad.unpack_dual(tensors[0]).tangent
            reached = torch.zeros_like(tensors[0], dtype=torch.bool) if tangent is None else tangent != 0
            self._counted[name] += 1
            other = self._reached.get(name, reached)
            # A layer called several times: its widest field, where its outputs are alike.
            self._reached[name] = reached | other if reached.shape == other.shape else reached
            if name in self._awaited:
                self._calls_left -= 1
                if not self._calls_left:
                    raise _EnoughError

        return hook

    def before(self, moment: int) -> dict[str, Tensor]:
        """For each module with time, which outputs depend on input before a moment: (outputs,) bool.

        Those whose past has no bound are left out, but for the first eighth.
        """
        return self._pass(0, moment, self.bounded)

    def after(self, moment: int) -> dict[str, Tensor]:
        """For each module with time, which outputs depend on input at a moment or after it: (outputs,) bool."""
        return self._pass(moment, self.length, list(self.time_dims))

    def _pass(self, start: int, stop: int, names: list[str]) -> dict[str, Tensor]:
        if (start, stop) not in self._passes:
            reached = self._raw_pass(start, stop, names)
            self._passes[start, stop] = {name: _over(reached[name], self.time_dims[name]) for name in names}
        return self._passes[start, stop]

    def _raw_pass(self, start: int, stop: int, names: list[str]) -> dict[str, Tensor]:
        """For each module, which elements of its output depend on input from ``start`` to before ``stop``.

        The pass ends when the modules of these names have run, if there are any.
        """
        tangent = torch.zeros_like(self.tangent)
        part = (self.time_dim, start, stop - start)
        tangent.narrow(*part).copy_(self.tangent.narrow(*part))
        self._awaited, self._calls_left = set(names), sum(self._calls[name] for name in names)
        self._reached, self._counted = {}, Counter()
        with torch.no_grad(), forward_ad.dual_level(), plain_kernels(), default_dtype(self.dtype), OpenDerivatives():
            signal = forward_ad.make_dual(self.signal, tangent)
            args = [signal if i == self.key else x for i, x in enumerate(self.args)]
            with suppress(_EnoughError):
                self.network(*args, **{k: signal if k == self.key else x for k, x in self.kwargs.items()})
        return self._reached

    def find_time(self) -> None:
        """Find each module's dimension of time, the one along which it matters where the tangent lies."""
        half = self.length // 2
        halves = [self._raw_pass(0, half, []), self._raw_pass(half, self.length, [])]
        self._calls = self._counted
        self.names = list(halves[0])
        for name in self.names:
            masks = [reached[name] for reached in halves]
            dims = {d for mask in masks for d in range(mask.dim()) if _varies(mask, d)}
            if len(dims) == 1:
                (self.time_dims[name],) = dims
                self.outputs[name] = masks[0].shape[self.time_dims[name]]
            elif not dims and all(mask.any() for mask in masks):
                self.whole.append(name)
        eighth = self._pass(0, self.length // 8, list(self.time_dims))
        self.bounded = [name for name, reached in eighth.items() if not reached.all()]


def _signal(args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[int | str, Tensor]:
    """The first tensor of floats among a call's arguments, and where it stands."""
    places: list[tuple[int | str, object]] = [*enumerate(args), *kwargs.items()]
    for key, value in places:
        if isinstance(value, Tensor) and value.is_floating_point() and value.dim():
            return key, value
    raise SettingError("example_input: no tensor of floats is among the arguments, so there is no signal to follow")


def _over(mask: Tensor, dim: int) -> Tensor:
    return mask.movedim(dim, 0).flatten(1).any(1)


def _varies(mask: Tensor, dim: int) -> bool:
    along = _over(mask, dim)
    return bool(along.any() and not along.all())
