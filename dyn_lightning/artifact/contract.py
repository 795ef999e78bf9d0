"""What a network takes and gives: names, shapes, types, and the shortest input, found by trying."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.exports.check import quiet_evaluation
from dyn_lightning.exports.onnx_file import input_names, output_names
from dyn_lightning.inputs import call_arguments, tensors_in

NAMES = ("input_name", "output_name")
"""Of the first input and output, in the metadata."""
_REFUSALS = (RuntimeError, TypeError, ValueError, IndexError, AssertionError, ZeroDivisionError)


def contract_of(network: nn.Module, example_input: object, metadata: Mapping[str, Any]) -> dict[str, object]:
    """Inputs and outputs of a network as JSON values.

    Args:
        network: a plain network; its mode is put back.
        example_input: a tensor, a tuple or a dict.
        metadata: of the artifact: ``input_name`` and ``output_name`` name the first of each, ``sample_rate`` says that
            the input is audio.

    Returns:
        ``inputs`` and ``outputs``, each with ``name``, ``shape`` (numbers, and names of what is open) and ``dtype``;
        ``minimum_length`` of the input's last dimension, where that is open. Empty where the network does not take the
        example.
    """
    first = [[metadata[key]] if metadata.get(key) else [] for key in NAMES]
    args, kwargs = call_arguments(example_input)
    with quiet_evaluation(network):
        try:
            result = network(*args, **kwargs)
        except _REFUSALS:
            return {}
        inputs = input_names(network, args, kwargs, first[0])
        outputs = output_names(network, result, first[1], inputs)
        given, found = tensors_in((args, kwargs)), tensors_in(result)
        shapes: list[list[object]] = [list(x.shape) for x in (*given, *found)]
        shortest = None
        if len(given) == 1 and given[0].dim() and args and isinstance(args[0], Tensor):
            is_audio = inputs[0] == "audio"
            shapes, is_open = _open_shapes(network, given[0], found, is_audio)
            shortest = _shortest(network, given[0]) if is_open else None
    about = [
        {"name": name, "shape": shape, "dtype": str(x.dtype).removeprefix("torch.")}
        for name, shape, x in zip([*inputs, *outputs], shapes, [*given, *found], strict=True)
    ]
    known: dict[str, object] = {"inputs": about[: len(given)], "outputs": about[len(given) :]}
    return known if shortest is None else {**known, "minimum_length": shortest}


def _open_shapes(
    network: nn.Module, x: Tensor, found: Sequence[Tensor], is_audio: bool
) -> tuple[list[list[object]], bool]:
    """Shapes of the input and the outputs with names for what is open, and whether the last dimension is."""
    own: list[object] = list(x.shape)
    others: list[list[object]] = [list(y.shape) for y in found]
    for dim in range(x.dim()):
        outputs = _outputs(network, _lengthened(x, dim))
        if outputs is None or [y.dim() for y in outputs] != [y.dim() for y in found]:
            continue
        last = dim == x.dim() - 1
        own[dim] = "batch" if dim == 0 else "samples" if is_audio and last else "time" if last else f"n{dim}"
        for shape, before, after in zip(others, found, outputs, strict=True):
            for place, (a, b) in enumerate(zip(before.shape, after.shape, strict=True)):
                if a != b:
                    shape[place] = own[dim] if dim == 0 or not is_audio else "frames"
    return [own, *others], isinstance(own[-1], str) and own[-1] != "batch"


def _outputs(network: nn.Module, x: Tensor) -> list[Tensor] | None:
    """What a network gives; None where it refuses an input or gives nothing for it."""
    try:
        outputs = tensors_in(network(x))
    except _REFUSALS:
        return None
    return outputs if all(y.numel() for y in outputs) else None


def _lengthened(x: Tensor, dim: int) -> Tensor:
    size = x.shape[dim]
    return x.index_select(dim, torch.arange(size + size // 2 + 1, device=x.device) % size)


def _shortest(network: nn.Module, x: Tensor) -> int:
    """The least length of the last dimension that a network takes, by bisection."""
    x, low, high = x[:1] if x.dim() > 1 else x, 0, x.shape[-1]
    while high - low > 1:
        middle = (low + high) // 2
        if _outputs(network, x[..., :middle]) is None:
            low = middle
        else:
            high = middle
    return high
