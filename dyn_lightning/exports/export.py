"""A network as a torch.export program or an ONNX file, its batch and time left open, checked at other sizes."""

from __future__ import annotations

import inspect
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from dyn_lightning.exports.any_length import any_length
from dyn_lightning.graph import call_arguments, tensors_in

MAX_ONNX_BYTES = 2**31 - 2**20  # a protobuf message's limit


class ExportError(RuntimeError):
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


def export_program(network: nn.Module, example_input: Any, *, dynamic_shapes: Any = None) -> ExportedProgram:
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
                raise ExportError(f"{name} cannot be traced by torch.export ({_first(error)})") from error

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


def save_program(network: nn.Module, example_input: Any, path: str | os.PathLike[str], **options: Any) -> ExportCheck:
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
    example_input: Any,
    path: str | os.PathLike[str],
    *,
    dynamic_shapes: Any = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
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
        input_names, output_names: of the ONNX graph; the arguments' own names where absent.
        tolerance: largest difference allowed, relative to the largest output.

    Raises:
        ExportError: if the network cannot be exported, or the file computes something else.
    """
    import onnxruntime

    size = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    if size > MAX_ONNX_BYTES:
        raise ExportError(f"{path}: {size / 2**30:.1f} GiB of weights do not fit into one ONNX file (2 GiB)")
    program = export_program(network, example_input, dynamic_shapes=dynamic_shapes)
    if odd := sorted({name for node in program.graph.nodes if (name := _without_onnx(node))}):
        raise ExportError(f"{path}: {', '.join(odd)} has no ONNX form: use a GRU, or an LSTM without projection")
    checks = []

    def write(temporary: str) -> None:
        with quiet_evaluation(network), any_length():
            try:
                torch.onnx.export(
                    program,
                    (),
                    temporary,
                    input_names=input_names,
                    output_names=output_names,
                    external_data=False,
                    verbose=False,
                )
            except Exception as error:  # the exporter raises of every kind
                raise ExportError(f"{path}: {type(network).__name__} has no ONNX form ({_first(error)})") from error
        session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])
        checks.append(compare(network, onnx_call(session), example_input, free_dimensions(program), tolerance))

    _write(Path(path), write)
    return checks[0]


def onnx_call(session: Any) -> Callable[..., list[Tensor]]:
    """An ONNX Runtime session as a function of tensors, positional or in nested keyword arguments, in their order."""

    def call(*args: Any, **kwargs: Any) -> list[Tensor]:
        given = [t.detach().cpu().numpy() for t in tensors_in((args, kwargs))]
        names = [entry.name for entry in session.get_inputs()]
        if len(names) != len(given):
            raise ExportError(f"the ONNX graph takes {', '.join(names)}, but {len(given)} tensors were given")
        return [torch.from_numpy(a) for a in session.run(None, dict(zip(names, given, strict=True)))]

    return call


def free_dimensions(program: ExportedProgram) -> list[list[Any]]:
    """For each input tensor its sizes: an integer where fixed, else the symbolic size."""
    wanted = set(program.graph_signature.user_inputs)
    nodes = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in wanted]
    shapes = [n.meta["val"].shape for n in nodes if isinstance(n.meta.get("val"), Tensor)]
    return [[size if _is_open(size) else int(size) for size in shape] for shape in shapes]


def _is_open(size: Any) -> bool:
    return isinstance(size, torch.SymInt) and not size.node.expr.is_number


def compare(
    network: nn.Module,
    exported: Callable[..., Any],
    example_input: Any,
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
            except (RuntimeError, ValueError, IndexError, AssertionError):
                if i == 0:
                    raise
                continue  # an input too short for the network itself
            try:
                found = tensors_in(exported(*args, **kwargs))
            except Exception as error:  # of any runtime
                raise ExportError(
                    f"the exported {type(network).__name__} fails at the input sizes {given} ({_first(error)})"
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


def _without_onnx(node: torch.fx.Node) -> str | None:
    """What torch's ONNX exporter has no translation for, and is no error there."""
    aten = torch.ops.aten
    if node.target in (aten.rnn_tanh.input, aten.rnn_relu.input):
        return "nn.RNN"
    if node.target is aten.lstm.input:
        hidden, cell = (state.meta["val"].shape[-1] for state in node.args[1])  # type: ignore[union-attr]
        return "nn.LSTM with proj_size" if hidden != cell else None
    return None


def _first(error: BaseException) -> str:
    """What an error says, in a line; torch's exporters wrap the cause in advice."""
    while error.__cause__ is not None and "onnx" in type(error).__module__:
        error = error.__cause__
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def _write(path: Path, write: Callable[[str], None]) -> None:
    """Let a function write a file beside its place, and move it there when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        temporary = os.path.join(folder, path.name)
        write(temporary)
        os.replace(temporary, path)


@contextmanager
def quiet_evaluation(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, and no warnings of the exporters; modes are put back."""
    modes = {module: module.training for module in network.modules()}
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    network.eval()
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for module, mode in modes.items():
            module.training = mode
