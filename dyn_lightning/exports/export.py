"""A network as a torch.export program or an ONNX file, its batch and time left open."""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from dyn_lightning.exports import onnx_file as names
from dyn_lightning.exports.any_length import any_length
from dyn_lightning.exports.check import (
    ExportCheck,
    ExportError,
    compare,
    first_line,
    free_dimensions,
    quiet_evaluation,
)
from dyn_lightning.exports.onnx_file import need_onnx, onnx_call, open_onnx, set_metadata
from dyn_lightning.inputs import call_arguments

__all__ = ["ExportCheck", "ExportError", "export_onnx", "export_program", "onnx_call", "save_program"]

MAX_ONNX_BYTES = 2**31 - 2**20  # a protobuf message's limit


def export_program(network: nn.Module, example_input: object, *, dynamic_shapes: Any = None) -> ExportedProgram:
    """Trace a network by torch.export, in evaluation mode.

    Args:
        network: a plain network; its mode is put back.
        example_input: a tensor, a tuple (positional arguments) or a dict (keyword arguments).
        dynamic_shapes: as torch.export has them. None: every dimension of the inputs stays open that the network
            does not hold fast.

    Raises:
        ExportError: if the network cannot be traced.
    """
    args, kwargs = call_arguments(example_input)

    def trace(shapes: Any) -> ExportedProgram:
        with quiet_evaluation(network), any_length():
            try:
                return torch.export.export(network, args, kwargs, dynamic_shapes=shapes)
            except Exception as error:  # torch.export raises of every kind
                name = type(network).__name__
                raise ExportError(f"{name} cannot be traced by torch.export ({first_line(error)})") from error

    if dynamic_shapes is not None:
        return trace(dynamic_shapes)
    leaves, spec = pytree.tree_flatten(kwargs or args)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    open_dims = [list(range(x.dim())) for x in tensors]
    while True:
        dims = iter([dict.fromkeys(found, Dim.AUTO) for found in open_dims])
        shapes = pytree.tree_unflatten([next(dims) if isinstance(x, Tensor) else None for x in leaves], spec)
        program = trace(_by_signature(network, shapes))
        found = [[d for d, s in enumerate(shape) if not isinstance(s, int)] for shape in free_dimensions(program)]
        if found == open_dims:
            return program
        open_dims = found  # again with what turned out to be fixed as numbers: ONNX takes no symbols for these


def _by_signature(network: nn.Module, shapes: Any) -> Any:
    """Shapes of arguments in the order of the call, as torch.export wants them: what ``*args`` takes is one entry."""
    if isinstance(shapes, dict):
        return shapes
    kinds = [p.kind for p in inspect.signature(network.forward).parameters.values()]
    several = (
        kinds.index(inspect.Parameter.VAR_POSITIONAL) if inspect.Parameter.VAR_POSITIONAL in kinds else len(shapes)
    )
    return (*shapes[:several], tuple(shapes[several:])) if several < len(shapes) else tuple(shapes)


def save_program(
    network: nn.Module, example_input: object, path: str | os.PathLike[str], **options: Any
) -> ExportCheck:
    """Write a torch.export program (``.pt2``), after comparing it with the network; see :func:`export_onnx`.

    Whoever loads such a file by ``torch.export.load`` has to trust its author: that function unpickles what the file
    marks as pickled, and evaluates the expressions in it. ``save_artifact`` writes a form that needs no trust.
    """
    tolerance = options.pop("tolerance", 1e-5)
    program = export_program(network, example_input, **options)
    check = compare(network, program.module(), example_input, free_dimensions(program), tolerance)
    with quiet_evaluation(network):
        _write(Path(path), lambda temporary: torch.export.save(program, temporary))
    return check


def export_onnx(
    network: nn.Module,
    example_input: object,
    path: str | os.PathLike[str],
    *,
    dynamic_shapes: object = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    tolerance: float = 1e-5,
) -> ExportCheck:
    """Write a network as ONNX, after comparing it with the network in ONNX Runtime. Wants the ``export`` extra.

    Compared at the sizes of the example, at others in every open dimension together, and at 1 in each of them by
    itself, as far as the network itself takes such an input.

    Args:
        network: a plain network; its mode is put back.
        example_input: a tensor, a tuple (positional arguments) or a dict (keyword arguments).
        path: the file, written as a whole or not at all.
        dynamic_shapes: see :func:`export_program`.
        input_names, output_names: of the ONNX graph; the arguments' own names and ``output`` where absent, with the
            keys of what they hold (``state_…``).
        metadata: name → JSON value, to stand in the file.
        tolerance: largest difference allowed, relative to the largest output.

    Raises:
        ExportError: if the network cannot be exported, or the file computes something else.
    """
    need_onnx()
    size = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    if size > MAX_ONNX_BYTES:
        raise ExportError(f"{path}: {size / 2**30:.1f} GiB of weights do not fit into one ONNX file (2 GiB)")
    program = export_program(network, example_input, dynamic_shapes=dynamic_shapes)
    if odd := sorted({name for node in program.graph.nodes if (name := _without_onnx(node))}):
        raise ExportError(f"{path}: {', '.join(odd)} has no ONNX form: use a GRU, or an LSTM without projection")
    args, kwargs = call_arguments(example_input)
    inputs = names.input_names(network, args, kwargs, input_names or ())
    with quiet_evaluation(network):
        outputs = names.output_names(network, network(*args, **kwargs), output_names or (), inputs)
    known = {**getattr(network, "export_metadata", {}), **(metadata or {})}
    checks = []

    def write(temporary: str) -> None:
        with quiet_evaluation(network), any_length():
            try:
                torch.onnx.export(
                    program,
                    (),
                    temporary,
                    input_names=inputs,
                    output_names=outputs,
                    external_data=False,
                    verbose=False,
                )
            except Exception as error:  # the exporter raises of every kind
                raise ExportError(f"{path}: {type(network).__name__} has no ONNX form ({first_line(error)})") from error
        set_metadata(temporary, known)
        try:
            exported = onnx_call(open_onnx(temporary))
        except ExportError as error:
            raise ExportError(f"{path}: {type(network).__name__}: {error}") from error
        checks.append(compare(network, exported, example_input, free_dimensions(program), tolerance))

    _write(Path(path), write)
    return checks[0]


def _without_onnx(node: torch.fx.Node) -> str | None:
    """What torch's ONNX exporter has no translation for, and is no error there."""
    aten = torch.ops.aten
    if node.target in (aten.rnn_tanh.input, aten.rnn_relu.input):
        return "nn.RNN"
    if node.target is aten.lstm.input:
        hidden, cell = (state.meta["val"].shape[-1] for state in node.args[1])  # type: ignore[union-attr]
        return "nn.LSTM with proj_size" if hidden != cell else None
    return None


def _write(path: Path, write: Callable[[str], None]) -> None:
    """Let a function write a file beside its place, and move it there when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        temporary = os.path.join(folder, path.name)
        write(temporary)
        os.replace(temporary, path)
