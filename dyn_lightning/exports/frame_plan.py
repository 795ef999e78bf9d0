"""What each call of a network has to keep, for the network to run frame by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dyn_lightning.errors import UserError
from dyn_lightning.exports.program.document import results_in

CONVOLUTIONS = ("aten.conv1d", "aten.conv2d", "aten.conv3d")
GRU, LSTM = ("aten.gru.input", "aten.rnn_tanh.input", "aten.rnn_relu.input"), ("aten.lstm.input",)
PADS = ("aten.pad.default", "aten.constant_pad_nd.default")
_CONVOLVE = {1: torch.ops.aten.conv1d.default, 2: torch.ops.aten.conv2d.default, 3: torch.ops.aten.conv3d.default}


class NotCausalError(UserError):
    """A network cannot run frame by frame; the message names the layer."""


@dataclass
class Timing:
    """How the frames of a call's result lie: frame j of the whole is there when frame j + delay has come in.

    ``ahead`` frames at the end of the whole hang on padding behind the end, made by ``culprit``.
    """

    dim: int
    delay: int = 0
    ahead: int = 0
    culprit: str = ""


@dataclass
class Step:
    """A call on one frame: its arguments altered, and what it keeps."""

    name: str
    layer: str
    function: Any
    kind: str
    args: list[Any]
    kwargs: dict[str, Any]
    timing: Timing | None = None
    keep: int = 0  # frames that a convolution reaches back to
    hold: int = 0  # frames before its input is there
    delays: dict[str, tuple[int, int]] = field(default_factory=dict)  # input → (frames to delay it by, dimension)


class Plan:
    """The steps of a network in order, and the shapes of what they keep.

    Args:
        calls: (name, function, arguments, keyword arguments) of each call.
        layers: name of a call → its layer.
        functions: name of a call → its function's name.
        shapes: all results' shapes for an example, for one frame less, and for one item more.
        source: name of the input.
        time_dim: of the input.
        batch_size: of the example.
        tensors: name → parameter or buffer.

    Attributes:
        steps: the calls.
        kept: name of a state → for each dimension its size without items, and by how much an item lengthens it.

    Raises:
        NotCausalError: names the layer that is not causal.
    """

    def __init__(
        self,
        calls: Sequence[tuple[str, Any, Any, Any]],
        layers: Mapping[str, str],
        functions: Mapping[str, str],
        shapes: Sequence[dict[str, Any]],
        *,
        source: str,
        time_dim: int,
        batch_size: int,
        tensors: Mapping[str, Tensor],
    ) -> None:
        self.source, self.time_dim, self.batch_size = source, time_dim, batch_size
        self.whole, self.shorter, self.larger = shapes
        self.functions, self.tensors = functions, tensors
        self.steps: list[Step] = []
        self.kept: dict[str, list[tuple[int, int]]] = {}
        for name, function, args, kwargs in calls:
            step = Step(name, layers[name] or name, function, "frame", list(args), dict(kwargs))
            self.steps.append(step)
            self._plan(step)

    def timing(self, name: str) -> Timing | None:
        """How the frames of a result lie; None where it has none."""
        if name == self.source:
            return Timing(self.time_dim)
        return next((step.timing for step in self.steps if step.name == name), None)

    def _keep(self, key: str, one: Sequence[int], more: Sequence[int], dim: int | None = None, count: int = 0) -> None:
        """A state of the shape of a result, of ``count`` in dimension ``dim``."""
        pairs = [(a - (b - a) * self.batch_size, b - a) for a, b in zip(one, more, strict=True)]
        self.kept[key] = [(count, 0) if d == dim else pair for d, pair in enumerate(pairs)]

    def _plan(self, step: Step) -> None:
        name, function, args = step.name, self.functions[step.name], step.args
        sources = [args[0]] if function in (*GRU, *LSTM) else [args, list(step.kwargs.values())]
        used = {n: t for n in results_in(sources) if (t := self.timing(n)) is not None}
        dims = _changed(self.whole[name], self.shorter[name]) if used else None
        if dims is None:  # nothing of the input, or sizes and other numbers
            return
        (first, timing), *_ = used.items()
        if function.startswith(CONVOLUTIONS):
            _parse_convolution(step, timing)
        if len(dims) != 1:
            raise NotCausalError(f"{step.layer} ({function}) does not keep frames apart: it looks at all of them")
        stateful = function.startswith(CONVOLUTIONS) or function in (*GRU, *LSTM)
        if stateful and timing.ahead > 0:
            raise NotCausalError(f"{timing.culprit} looks {timing.ahead} frames ahead: pad it on the left alone")
        step.timing = Timing(dims[0], timing.delay, timing.ahead, timing.culprit)
        if function.startswith(CONVOLUTIONS):
            _plan_convolution(step, timing, self.tensors[step.kwargs["w"]["result"]])
            if step.keep:
                self._keep(name, self.whole[first], self.larger[first], timing.dim, step.keep)
        elif function in (*GRU, *LSTM):
            self._plan_recurrent(step, timing)
        elif function in PADS:
            _plan_padding(step, timing, len(self.whole[first]))
        elif function == "aten.slice.Tensor" and _dim(args, self.whole[first]) == timing.dim:
            _plan_slice(step, timing)
        else:
            step.timing.delay = max(t.delay for t in used.values())
            step.timing.ahead = max(t.ahead for t in used.values())
            for source, other in used.items():
                behind = step.timing.delay - other.delay
                if behind:
                    step.delays[source] = (behind, other.dim)
                    self._keep(f"{name}.{source}", self.whole[source], self.larger[source], other.dim, behind)

    def _plan_recurrent(self, step: Step, timing: Timing) -> None:
        function, given = self.functions[step.name], step.args[1]
        made = [self.functions.get(n, "") for n in results_in(given if isinstance(given, list) else [given])]
        if step.args[7] is True:
            raise NotCausalError(f"{step.layer} is bidirectional")
        if not all(m.startswith("aten.zeros.") for m in made):
            raise NotCausalError(f"{step.layer} is given an initial state: it must start from zeros")
        step.kind, step.hold, step.args[1] = "recurrent", max(0, timing.delay), None
        for i, suffix in enumerate("h" if function in GRU else "hc", start=1):
            self._keep(f"{step.name}.{suffix}", self.whole[step.name][i], self.larger[step.name][i])


def _parse_convolution(step: Step, timing: Timing) -> None:
    """Bring a convolution's arguments into keywords, and refuse one that skips frames or convolves over features."""

    defaults = {"x": None, "w": None, "b": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    step.kwargs = {**defaults, **dict(zip(defaults, step.args, strict=False)), **step.kwargs}
    if timing.dim < 2:
        raise NotCausalError(f"{step.layer} convolves over features: frames must come in one of its last dimensions")
    stride = _each(step.kwargs["stride"], timing.dim - 1)[timing.dim - 2]
    if stride != 1:
        raise NotCausalError(f"{step.layer} has stride {stride} in time: its frames come at another rate")


def _plan_convolution(step: Step, timing: Timing, weight: Tensor) -> None:
    options, axis, kernel = step.kwargs, timing.dim - 2, weight.shape[2:]
    spatial = len(kernel)
    dilation = _each(options["dilation"], spatial)
    reach = (kernel[axis] - 1) * dilation[axis]
    if options["padding"] == "same":
        total = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
        if any(t % 2 for i, t in enumerate(total) if i != axis):
            raise NotCausalError(f"{step.layer} pads features unevenly: use padding by numbers")
        padding, before, after = [t // 2 for t in total], reach // 2, reach - reach // 2
    else:
        padding = [0] * spatial if options["padding"] == "valid" else _each(options["padding"], spatial)
        before = after = padding[axis]
    padding[axis] = 0
    # Frames from before the beginning are zeros where the layer pads; otherwise no output hangs on them.
    step.kind, step.keep, step.hold = "convolution", reach, max(0, timing.delay) if before else 0
    step.function = _CONVOLVE[spatial]
    step.args = [options["x"], options["w"], options["b"], _each(options["stride"], spatial), padding, dilation]
    step.args, step.kwargs = [*step.args, options["groups"]], {}
    assert step.timing is not None
    step.timing.delay = timing.delay + reach - before
    if after:
        step.timing.ahead, step.timing.culprit = timing.ahead + after, step.layer


def _plan_padding(step: Step, timing: Timing, dims: int) -> None:
    pads = list(step.args[1]) + [0] * (2 * dims - len(step.args[1]))
    place = 2 * (dims - 1 - timing.dim)
    before, after = pads[place : place + 2]
    if before == after == 0:
        return
    mode = step.args[2] if len(step.args) > 2 else "constant"
    value = step.args[3] if len(step.args) > 3 else 0.0
    if (isinstance(mode, str) and mode != "constant") or value or (not isinstance(mode, str) and mode):
        raise NotCausalError(f"{step.layer} pads frames with something else than zeros")
    assert step.timing is not None
    pads[place : place + 2] = [0, 0]  # features are padded as ever
    step.kind, step.hold, step.args[1] = "convolution", max(0, timing.delay), pads[: len(step.args[1])]
    step.timing.delay, step.timing.ahead = timing.delay - before, timing.ahead + after
    step.timing.culprit = step.layer if after else timing.culprit


def _plan_slice(step: Step, timing: Timing) -> None:
    args = step.args
    start, stop = (args[2] if len(args) > 2 else 0) or 0, args[3] if len(args) > 3 else None
    assert step.timing is not None
    step.kind, step.timing.delay = "pass", timing.delay + start
    step.timing.ahead = timing.ahead + (stop if isinstance(stop, int) and stop < 0 else 0)
    if start < 0 or (len(args) > 4 and args[4] != 1) or step.timing.ahead < 0:
        raise NotCausalError(f"{step.layer} takes frames from the end, or every other one")


def _changed(one: Any, other: Any) -> list[int] | None:
    """Dimensions in which a result changes with the length; None for what is no tensor."""
    if isinstance(one, list):
        one, other = (one[0], other[0]) if one else (None, None)
    if not isinstance(one, tuple):
        return None
    return [d for d, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]


def _dim(args: Sequence[Any], shape: Sequence[int]) -> int:
    return int(args[1] if len(args) > 1 else 0) % len(shape)


def _each(value: Any, count: int) -> list[int]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return [int(v) for v in (values * count if len(values) == 1 else values)]
