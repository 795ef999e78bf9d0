"""Compares a network with what was exported of it, at the sizes of an example and at others."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from dyn_lightning.errors import UserError
from dyn_lightning.inputs import call_arguments, evaluating, tensors_in


class ExportError(UserError, RuntimeError):
    """A network cannot be exported, or what was exported computes something else; the message says where."""


@dataclass(frozen=True)
class ExportCheck:
    """On what the exported network was compared with the plain one.

    Attributes:
        largest_difference: of all outputs, relative to the largest absolute output.
        shapes: for each comparison, the shapes of the input tensors.
        free: for each input tensor, the dimensions that any size can be given to.
    """

    largest_difference: float
    shapes: list[list[tuple[int, ...]]]
    free: list[list[int]]


def free_dimensions(program: ExportedProgram) -> list[list[object]]:
    """For each input tensor its sizes: an integer where fixed, else the symbolic size."""
    wanted = set(program.graph_signature.user_inputs)
    nodes = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in wanted]
    shapes = [n.meta["val"].shape for n in nodes if isinstance(n.meta.get("val"), Tensor)]
    return [[size if _is_open(size) else int(size) for size in shape] for shape in shapes]


def _is_open(size: object) -> bool:
    return isinstance(size, torch.SymInt) and not size.node.expr.is_number


def compare(
    network: nn.Module,
    exported: Callable[..., object],
    example_input: object,
    sizes: list[list[Any]],
    tolerance: float,
) -> ExportCheck:
    """Compare two forms of a network on the example and on inputs of other sizes.

    Args:
        network: the plain network.
        exported: called like it.
        example_input: a tensor, a tuple or a dict.
        sizes: what :func:`free_dimensions` gave.
        tolerance: largest difference allowed, relative to the largest output.

    Raises:
        ExportError: if ``exported`` fails where the network does not, or differs by more.
    """
    largest, shapes = 0.0, []
    for i, (args, kwargs) in enumerate(_resized_inputs(call_arguments(example_input), sizes)):
        given = [tuple(t.shape) for t in tensors_in((args, kwargs))]
        with quiet_evaluation(network):
            try:
                expected = tensors_in(network(*args, **kwargs))
            except (RuntimeError, TypeError, ValueError, IndexError, AssertionError) as error:
                if i == 0:
                    raise ExportError(
                        f"{type(network).__name__} does not take its example input {given} ({first_line(error)})"
                    ) from error
                continue  # an input too short for the network itself
            try:
                found = tensors_in(exported(*args, **kwargs))
            except Exception as error:  # of any runtime
                raise ExportError(
                    f"the exported {type(network).__name__} fails at the input sizes {given} ({first_line(error)})"
                ) from error
        difference = _difference(expected, found)
        if not difference <= tolerance:
            raise ExportError(
                f"the exported {type(network).__name__} differs by {difference:.3g} at the input sizes {given}, "
                f"tolerance {tolerance:g}"
            )
        largest = max(largest, difference)
        shapes.append(given)
    free = [[d for d, size in enumerate(shape) if not isinstance(size, int)] for shape in sizes]
    return ExportCheck(largest, shapes, free)


def _difference(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """Largest difference over all outputs, relative to the largest output; infinite where shapes differ."""
    if [x.shape for x in expected] != [x.shape for x in found]:
        return float("inf")
    pairs = [(a.detach().cpu().double(), b.detach().cpu().double()) for a, b in zip(expected, found, strict=True)]
    pairs = [(a, b) for a, b in pairs if a.numel()]
    scale = max((a.abs().nan_to_num().max().item() for a, _ in pairs), default=1.0)
    apart = [(a - b).abs().masked_fill((a == b) | (a.isnan() & b.isnan()), 0.0).max().item() for a, b in pairs]
    worst = max(apart, default=0.0)
    return float("inf") if worst != worst else worst / max(scale, 1e-30)


def _resized_inputs(arguments: Any, sizes: list[list[Any]]) -> Iterator[Any]:
    """The example, then with every open size changed, then with each of them at 1, and without repetition."""
    leaves, spec = pytree.tree_flatten(arguments)
    tensors = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    known = [leaves[i].shape for i in tensors]
    places = [(size, k, d) for k, shape in enumerate(sizes) for d, size in enumerate(shape)]
    open_sizes = [(size.node.expr, k, d) for size, k, d in places if _is_open(size)]
    symbols = {symbol for expression, _, _ in open_sizes for symbol in expression.free_symbols}
    hints = {expression: known[k][d] for expression, k, d in open_sizes if expression.is_Symbol}
    yield arguments
    grown = {s: hint + hint // 2 + 1 + i for i, (s, hint) in enumerate(hints.items())}
    shrunk = {s: max(1, hint - hint // 3) for s, hint in hints.items()}
    for values in (grown, shrunk, *({**grown, s: 1} for s in hints)):
        if not values or values.keys() != symbols:
            return
        new = list(leaves)
        for k, shape in enumerate(sizes):
            wanted = [d if isinstance(d, int) else int(d.node.expr.subs(values)) for d in shape]
            new[tensors[k]] = _tiled(leaves[tensors[k]], wanted)
        yield pytree.tree_unflatten(new, spec)


def _tiled(x: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor of another shape with the elements of x, repeated."""
    for dim, size in enumerate(shape):
        if x.shape[dim] != size:
            x = x.index_select(dim, torch.arange(size, device=x.device) % x.shape[dim])
    return x


def first_line(error: BaseException) -> str:
    """What an error says, in a line; torch's exporters wrap the cause in advice."""
    while error.__cause__ is not None and "onnx" in type(error).__module__:
        error = error.__cause__
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


@contextmanager
def quiet_evaluation(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, and no warnings of the exporters; modes are put back."""
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with evaluating(network), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
