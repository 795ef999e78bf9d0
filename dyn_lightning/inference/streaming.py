"""Frame scores of audio of any length in bounded memory: the whole-file result, computed block by block."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torchaudio
from torch import Tensor, nn

from dyn_lightning.data.audio import AudioError, AudioFile, AudioWarning, check_rates
from dyn_lightning.errors import UserError
from dyn_lightning.modules.stacked_rnn import StackedRNN

RECURRENT = (nn.GRU, nn.LSTM, StackedRNN)
_SLIDING = (nn.Conv1d, nn.Conv2d, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)


class StreamResampler:
    """Band-limited resampling of a signal that comes in pieces; joined, the results are the whole signal's.

    torchaudio maps steps of ``from_rate / gcd`` samples to steps of ``to_rate / gcd``, each from a window
    around it. Pieces are cut at steps and given as much of their neighbours as a window holds; results of
    that are dropped.

    Raises:
        ValueError: if the two rates have so little in common that the filter would not fit into memory.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        check_rates(from_rate, to_rate)
        gcd = math.gcd(from_rate, to_rate)
        self.step_in, self.step_out = from_rate // gcd, to_rate // gcd
        width = math.ceil(6 * self.step_in / (min(self.step_in, self.step_out) * 0.99))
        self.margin = width // self.step_in + 1  # steps on either side
        self.resample = torchaudio.transforms.Resample(from_rate, to_rate, dtype=torch.float32)
        self.pending = torch.zeros(0)
        self.skip = 0  # steps at the start of ``pending`` that were given out before

    def push(self, samples: Tensor) -> Tensor:
        """The next samples (n,) → those of the result that are final, (m,)."""
        self.pending = torch.cat([self.pending, samples])
        steps = len(self.pending) // self.step_in
        ready = steps - self.margin
        if ready <= self.skip:
            return self.pending[:0]
        result: Tensor = self.resample(self.pending[: steps * self.step_in])
        result = result[self.skip * self.step_out : ready * self.step_out]
        drop = max(0, ready - self.margin)
        self.pending, self.skip = self.pending[drop * self.step_in :], ready - drop
        return result

    def finish(self) -> Tensor:
        """What is left when the signal has ended, (m,)."""
        if not len(self.pending):
            return self.pending
        result: Tensor = self.resample(self.pending)
        return result[self.skip * self.step_out :]


def read_blocks(path: str | os.PathLike[str], sample_rate: int, block_s: float) -> Iterator[Tensor]:
    """Mono float32 audio at ``sample_rate``, block by block: (samples,) each; channels are averaged.

    Raises:
        AudioError: the file is missing, no audio, truncated, empty, or holds NaN or infinite samples.
    """
    with AudioFile(path) as file:
        if file.doubt is not None:
            warnings.warn(file.doubt, AudioWarning, stacklevel=2)
        resampler = _resampler(file.path, file.sample_rate, sample_rate)
        for block in file.blocks(block=max(1, round(block_s * file.sample_rate))):
            mono = torch.from_numpy(block)
            yield mono if resampler is None else resampler.push(mono)
        if resampler is not None:
            yield resampler.finish()


class RecurrentCarry:
    """Makes a network's unidirectional recurrent layers go on where the block before ended.

    Forward hooks on every torch.nn.GRU, LSTM and StackedRNN, for the time of a ``with``. With a context of c
    frames, the i-th recurrent call (from 1) starts i·c frames into a block, as the frames before follow from
    the artificial edge; zeros stand for their outputs. The state that it leaves is the one before the same
    position of the next block.
    """

    def __init__(self, network: nn.Module, context_frames: int) -> None:
        inner = {id(m) for s in network.modules() if isinstance(s, StackedRNN) for m in s.layers}
        self.layers = [m for m in network.modules() if isinstance(m, RECURRENT) and id(m) not in inner]
        self.context_frames = context_frames
        self.states: list[Any] = []
        self.calls = 0

    @contextmanager
    def block(self, advance: int | None, first: bool) -> Iterator[None]:
        """For one forward pass; the next block starts ``advance`` frames further on (None: there is none)."""
        self.calls, states, rest = 0, list[Any](), list[Tensor]()

        def before(rnn: object, args: Any) -> Any:
            if not args or not isinstance(args[0], Tensor):
                raise RuntimeError("a recurrent layer must be given a tensor, by position, to carry its state")
            x, *given = args
            start, self.calls = (self.calls + 1) * self.context_frames, self.calls + 1
            time = _time_dim(rnn, x)
            stop = x.size(time) if advance is None else min(start + advance, x.size(time))
            if first:
                start = 0
            rest[:] = [x.narrow(time, 0, start), x.narrow(time, stop, x.size(time) - stop)]
            return x.narrow(time, start, stop - start), *(given if first else [self.states[self.calls - 1]])

        def after(rnn: Any, args: object, result: Any) -> Any:
            output, state = result
            states.append(state)
            time = _time_dim(rnn, output)
            skipped, ahead = rest
            shape = list(output.shape)
            shape[time] = skipped.size(time)
            parts = [output.new_zeros(shape), output]
            if ahead.size(time):
                further, state = rnn.forward(ahead, state)
                parts.append(further)
            return torch.cat(parts, dim=time), state

        handles = [h for m in self.layers for h in _hooks(m, before, after)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        self.states = states


class FrameStream:
    """Scores of audio that comes in pieces.

    The network's frames lie ``hop_length`` samples apart, so a block that starts at a multiple of the hop has
    the frames that the whole audio has there. What an artificial edge falsifies, through padded convolutions
    or pooling over time, is ``context_frames``: blocks overlap by it, and those frames are not given out.
    With ``carry`` recurrent layers go on with their state, and the scores are those of the whole audio but
    for float rounding; without, every block starts anew (:func:`streams_exactly` tells which is right for a
    network).

    Args:
        network: (1, samples) → (1, frames), in evaluation mode.
        hop_length: samples from one frame to the next.
        context_frames: frames that an artificial edge falsifies (:func:`context_frames`).
        carry: whether recurrent layers go on.
        min_samples: the fewest samples that give a frame.
    """

    def __init__(
        self,
        network: nn.Module,
        hop_length: int,
        context_frames: int,
        *,
        carry: bool = True,
        min_samples: int = 1,
    ) -> None:
        self.network, self.hop_length, self.context_frames = network, hop_length, context_frames
        self.device = next((t.device for t in network.state_dict().values()), torch.device("cpu"))
        self.carry = RecurrentCarry(network, context_frames)
        if not carry:
            self.carry.layers = []
        # Audio held back, so that the last block is never too short for a frame.
        self.reserve = max(min_samples, 16 * hop_length)
        with self.carry.block(None, first=True):
            self.reserve_frames = self._scores(torch.zeros(self.reserve)).numel()
        self.left = (self.carry.calls + 1) * context_frames
        self.buffer = torch.zeros(0)
        self.first = True

    def push(self, samples: Tensor) -> Tensor:
        """The next samples (n,) → the next scores (frames,), as far as they are final; perhaps none."""
        self.buffer = torch.cat([self.buffer, samples])
        hops = (len(self.buffer) - 2 * self.reserve) // self.hop_length
        advance = hops + self.reserve_frames - self.context_frames - self.left
        if hops < 0 or advance < 1:
            return torch.zeros(0)
        with self.carry.block(advance, self.first):
            scores = self._scores(self.buffer[: self.reserve + hops * self.hop_length])
        scores = scores[0 if self.first else self.left : advance + self.left]
        self.buffer, self.first = self.buffer[advance * self.hop_length :], False
        return scores

    def finish(self) -> Tensor:
        """The scores that are left when the audio has ended, (frames,).

        Raises:
            ValueError: if the whole audio is too short for a frame.
        """
        with self.carry.block(None, self.first):
            scores = self._scores(self.buffer)
        return scores if self.first else scores[self.left :]

    @torch.inference_mode()
    def _scores(self, audio: Tensor) -> Tensor:
        result = self.network(audio.unsqueeze(0).to(self.device))
        if not isinstance(result, Tensor) or result.dim() != 2 or len(result) != 1:
            raise UserError(
                "the network must give one score a frame, (1, samples) → (1, frames): this one finds no speech"
            )
        return result[0].float().cpu()


def context_frames(network: nn.Module, hop_length: int) -> int:
    """Frames that padding at an edge reaches: an upper bound from the kernels of torch.nn's layers.

    A front end that centres its frames pads as well. Padding by function (``F.pad``) is not seen.
    """
    frames = 0
    for module in network.modules():
        if isinstance(module, _SLIDING) and any(_tuple(module.padding)):
            frames += (max(_tuple(module.kernel_size)) - 1) * max(_tuple(getattr(module, "dilation", 1)))
        n_fft: object = getattr(module, "n_fft", None)
        if getattr(module, "center", False) is True and isinstance(n_fft, int):
            frames += math.ceil(n_fft / 2 / hop_length)
    return frames


def streams_exactly(
    network: nn.Module, hop_length: int, context_frames: int, *, min_samples: int = 1, tolerance: float = 1e-4
) -> bool:
    """Whether blocks with carried states give the scores of the whole: tried on noise of a changing level.

    False for networks that look at all of the audio (bidirectional layers, attention or normalisation over
    time).
    """
    if any(getattr(m, "bidirectional", False) for m in network.modules()):
        return False
    try:
        stream = FrameStream(network, hop_length, context_frames, min_samples=min_samples)
        block = stream.reserve + (stream.left + context_frames + 8) * hop_length
        noise = torch.randn(5, block, generator=torch.Generator().manual_seed(0))
        noise = (noise * torch.tensor([[0.03], [0.3], [0.001], [0.1], [0.01]])).flatten()
        whole = stream._scores(noise)
        parts = torch.cat([*(stream.push(piece) for piece in noise.split(block)), stream.finish()])
    except RuntimeError:  # a block that does not fit the network
        return False
    if whole.shape != parts.shape:
        return False
    return bool((whole - parts).abs().max() <= tolerance * whole.abs().max())


def _resampler(path: Path, from_rate: int, to_rate: int) -> StreamResampler | None:
    try:
        return None if from_rate == to_rate else StreamResampler(from_rate, to_rate)
    except ValueError as error:
        raise AudioError(f"{path}: {error}.") from error


def _hooks(module: nn.Module, before: Callable[..., object], after: Callable[..., object]) -> list[Any]:
    return [module.register_forward_pre_hook(before), module.register_forward_hook(after)]


def _time_dim(rnn: Any, x: Tensor) -> int:
    return 1 if x.dim() == 3 and rnn.batch_first else 0


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
