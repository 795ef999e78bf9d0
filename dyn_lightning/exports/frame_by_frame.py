"""A causal network one frame at a time, its state outside: ``output, state = network(frame, state)``.

:mod:`dyn_lightning.inference.streaming` runs any network on blocks of audio; this is for systems that hand over frames
as they come, and for ONNX, where the state has to be an input and an output.

A network is traced (:mod:`~dyn_lightning.exports.program`), and each of its calls made to work on a single frame: a
convolution keeps the frames that its kernel reaches back to, a recurrent layer its state, a sum of branches of
different delay the frames of the faster one; all else has to treat each frame by itself. That it does is not inferred
but tried: every call's frames are compared with those of the whole, and the first that differ are named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from dyn_lightning.exports.frame_plan import GRU, LSTM, NotCausalError, Plan
from dyn_lightning.exports.program.document import results_in
from dyn_lightning.exports.program.traced import Program, decode, describe_program

State = dict[str, Tensor]
FRAMES = "frames"


class FrameByFrame(Program):
    """A causal network that takes one frame a call, and its state.

    The first ``delay`` calls give nothing yet (their output is to be dropped); call ``delay + j`` gives frame j of
    what the network gives for the whole. It can be exported like any network (``export_onnx``, with the arguments
    ``(frame, state)``).

    Args:
        network: a plain causal network of one input and one output tensor: convolutions padded on the left or not
            at all, norms over features, GRU, LSTM or StackedRNN of one direction, activations, linear layers,
            residual sums, left padding and slices in time.
        example_input: enough frames for some output, (batch, …).
        time_dim: of the input.
        after: name of a layer; what stands before it, itself included, is left out, and its output is what comes in
            frame by frame, e.g. ``"spectrogram"``. ``time_dim`` is then that of its output.
        tolerance: largest difference allowed in the comparison, relative to the largest value.

    Attributes:
        delay: calls before the first frame of output.
        result_names: of the output and the state, in ONNX.

    Raises:
        NotCausalError: names the layer that is not causal.
    """

    result_names = ("output", "state")

    def __init__(
        self,
        network: nn.Module,
        example_input: Tensor,
        *,
        time_dim: int = -1,
        after: str | None = None,
        tolerance: float = 1e-4,
    ) -> None:
        document, constants = describe_program(network, example_input)
        super().__init__(document)
        self.load({**network.state_dict(), **constants})
        self.eval()
        layers = {c["name"]: c["layer"] for c in document["calls"]}
        functions = {c["name"]: c["function"] for c in document["calls"]}
        x = example_input
        if after is not None:
            x = self._cut(after, layers, example_input)
        if len(self.inputs) != 1 or list(self.outputs) != ["result"]:
            raise NotCausalError(f"{type(network).__name__} must have one input and one output tensor")
        self.time_dim = time_dim % x.dim()
        self.frame_shape = tuple(1 if d == self.time_dim else size for d, size in enumerate(x.shape))
        plan = Plan(
            self.calls,
            layers,
            functions,
            self._probe(x),
            source=self.inputs[0],
            time_dim=self.time_dim,
            batch_size=x.shape[0],
            tensors={place: self.tensor(place) for place in self.tensors},
        )
        self.steps, self.kept = plan.steps, plan.kept
        last = plan.timing(self.outputs["result"])
        if last is None:
            raise NotCausalError("the network's output has no frames")
        if last.ahead > 0:
            raise NotCausalError(f"{last.culprit} looks {last.ahead} frames ahead: pad it on the left alone")
        self.delay, self.output_dim = last.delay, last.dim
        self._verify(x, tolerance)

    def forward(self, frame: Tensor, state: State) -> tuple[Tensor, State]:
        """One frame in, one out.

        Args:
            frame: as the network's input, of size 1 in time.
            state: what the call before gave, or :meth:`initial_state`.
        """
        known, state = self._run(frame, state)
        return known[self.outputs["result"]], state

    def initial_state(self, batch_size: int = 1) -> State:
        """The state before the first frame."""
        like = next(self.parameters(), torch.zeros(()))
        state = {FRAMES: torch.zeros((), dtype=torch.int64, device=like.device)}
        for name, sizes in self.kept.items():
            state[name] = like.new_zeros([size + slope * batch_size for size, slope in sizes])
        return state

    def export_arguments(self, batch_size: int = 2) -> tuple[tuple[Tensor, State], Any]:
        """Example arguments, and the ``dynamic_shapes`` that leave their batch open, for ``export_onnx``."""
        state = self.initial_state(batch_size)
        shapes = {key: {d: Dim.AUTO for d, (_, slope) in enumerate(sizes) if slope} for key, sizes in self.kept.items()}
        frame = next(self.parameters(), torch.zeros(())).new_zeros(batch_size, *self.frame_shape[1:])
        return (frame, state), ({0: Dim.AUTO}, {FRAMES: {}, **shapes})

    @property
    def export_metadata(self) -> dict[str, Any]:
        """What stands in an ONNX file: how many calls to drop, and the shape of each state for one item."""
        states = {name: [size + slope for size, slope in sizes] for name, sizes in self.kept.items()}
        return {"delay_frames": self.delay, "states": {FRAMES: [], **states}}

    @torch.no_grad()
    def run(self, x: Tensor) -> Tensor:
        """All frames of an input, one after another: what the network gives for the whole of it."""
        state, outputs = self.initial_state(x.shape[0]), []
        for t in range(x.shape[self.time_dim]):
            y, state = self(x.narrow(self.time_dim, t, 1), state)
            outputs.append(y)
        return torch.cat(outputs[self.delay :], dim=self.output_dim)

    def _run(self, frame: Tensor, state: State) -> tuple[dict[str, Any], State]:
        if frame.shape[self.time_dim] != 1:
            raise ValueError(f"one frame a call, not {frame.shape[self.time_dim]}")
        self._check_state(state, frame.shape[0])
        frames, new = state[FRAMES], dict[str, Tensor]()
        known: dict[str, Any] = {self.inputs[0]: frame, **{place: self.tensor(place) for place in self.tensors}}
        for step in self.steps:
            delayed = {}
            for name, (count, dim) in step.delays.items():
                key = f"{step.name}.{name}"
                line = torch.cat([state[key], known[name]], dim)
                delayed[name], new[key] = line.narrow(dim, 0, 1), line.narrow(dim, 1, count)
            values = {**known, **delayed} if delayed else known
            args = decode(step.args, values, frame.device)
            kwargs = {k: decode(v, values, frame.device) for k, v in step.kwargs.items()}
            started = frames >= step.hold
            if step.kind == "pass":
                known[step.name] = args[0]
            elif step.kind == "convolution":
                x = torch.where(started, args[0], 0.0) if step.hold else args[0]
                if step.keep:
                    assert step.timing is not None
                    x = torch.cat([state[step.name], x], step.timing.dim)
                    new[step.name] = x.narrow(step.timing.dim, 1, step.keep)
                known[step.name] = step.function(x, *args[1:], **kwargs)
            elif step.kind == "recurrent":
                keys = [key for key in (f"{step.name}.h", f"{step.name}.c") if key in state]
                given = state[keys[0]] if len(keys) == 1 else [state[key] for key in keys]
                result = step.function(args[0], given, *args[2:], **kwargs)
                for key, value in zip(keys, result[1:], strict=True):
                    new[key] = torch.where(started, value, state[key]) if step.hold else value
                known[step.name] = result
            else:
                known[step.name] = step.function(*args, **kwargs)
        return known, {FRAMES: frames + 1, **new}

    def _check_state(self, state: State, batch_size: int) -> None:
        if state.keys() != {FRAMES, *self.kept}:
            raise ValueError(f"the state must hold {', '.join([FRAMES, *self.kept])}: begin with initial_state()")
        for name, sizes in self.kept.items():
            wanted = [size + slope * batch_size for size, slope in sizes]
            if list(state[name].shape) != wanted:
                raise ValueError(f"state {name} has shape {tuple(state[name].shape)}, not {tuple(wanted)}")

    def _cut(self, after: str, layers: Mapping[str, str], example_input: Tensor) -> Tensor:
        """Make a layer's output the input; gives it for the example."""
        inside = [name for name, *_ in self.calls if layers[name] == after or layers[name].startswith(f"{after}.")]
        if not inside:
            known = ", ".join(sorted({*layers.values()} - {""}))
            raise NotCausalError(f"after: no layer {after!r} runs; there are {known}")
        values = self._whole(example_input)
        last = inside[-1]
        needed, calls = set(results_in(self.outputs)), []
        for call in reversed(self.calls):
            # Initial states of recurrent layers are made from the size of the input: they come from outside here.
            if call[0] in needed and call[0] != last:
                needed |= set(results_in([call[2][:1] + call[2][2:] if _is_recurrent(call[1]) else call[2], call[3]]))
                calls.append(call)
        if odd := needed & set(self.inputs):
            raise NotCausalError(f"after: the network needs its input {', '.join(odd)} behind {after}, too")
        self.calls, self.inputs, self.done_with = calls[::-1], [last], {}
        result: Tensor = values[last]
        return result

    @torch.no_grad()
    def _whole(self, x: Tensor) -> dict[str, Any]:
        """Every call's result for a whole input."""
        known: dict[str, Any] = {self.inputs[0]: x, **{place: self.tensor(place) for place in self.tensors}}
        for name, function, args, kwargs in self.calls:
            given = decode(args if not _is_recurrent(function) else [args[0], None, *args[2:]], known, x.device)
            if _is_recurrent(function):
                given[1] = _zero_states(given, function)
            known[name] = function(*given, **{k: decode(v, known, x.device) for k, v in kwargs.items()})
        return known

    def _probe(self, x: Tensor) -> list[dict[str, Any]]:
        """All results' shapes for the example, for one frame less, and for one item more."""
        inputs = [x, x.narrow(self.time_dim, 0, x.shape[self.time_dim] - 1), torch.cat([x, x[:1]])]
        return [{k: _shapes(v) for k, v in self._whole(given).items()} for given in inputs]

    def _verify(self, x: Tensor, tolerance: float) -> None:
        """Compare every call's frames with those of the whole."""
        whole = self._whole(x)
        timings = {s.name: s for s in self.steps if s.timing is not None and isinstance(whole[s.name], Tensor)}
        streamed: dict[str, list[Tensor]] = {name: [] for name in timings}
        state = self.initial_state(x.shape[0])
        with torch.no_grad():
            for t in range(x.shape[self.time_dim]):
                known, state = self._run(x.narrow(self.time_dim, t, 1), state)
                for name in timings:
                    streamed[name].append(known[name])
        for name, step in timings.items():
            assert step.timing is not None
            timing, expected = step.timing, whole[name]
            frames = torch.cat(streamed[name][max(0, timing.delay) :], timing.dim)
            first = max(0, -timing.delay)
            count = min(frames.shape[timing.dim], expected.shape[timing.dim] - first)
            if timing.ahead == 0 and frames.shape[timing.dim] + first != expected.shape[timing.dim]:
                raise NotCausalError(f"{step.layer} gives {expected.shape[timing.dim]} frames, one by one {count}")
            a, b = frames.narrow(timing.dim, 0, count), expected.narrow(timing.dim, first, count)
            if a.shape != b.shape or (a - b).abs().max() > tolerance * max(float(b.abs().max()), 1e-6):
                raise NotCausalError(f"{step.layer} ({name}) gives other frames one by one than together")


def _is_recurrent(function: Any) -> bool:
    name = str(function)
    return name in GRU or name in LSTM


def _zero_states(args: Sequence[Any], function: Any) -> Any:
    """Zeros for the initial states of a recurrent call of the whole."""
    x, params = args[0], args[2]
    layers, bidirectional, batch_first = args[4], args[7], args[8]
    batch = x.shape[0 if batch_first else 1]
    directions = 2 if bidirectional else 1
    hidden = x.new_zeros(layers * directions, batch, params[1].shape[1])
    if str(function) in GRU:
        return hidden
    return [hidden, x.new_zeros(layers * directions, batch, params[1].shape[0] // 4)]


def _shapes(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    return [_shapes(v) for v in value] if isinstance(value, (list, tuple)) else None
