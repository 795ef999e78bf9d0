"""A network as data: the calls of torch's functions that it makes, traced by torch.export, written as JSON.

What ``torch.export.load`` reads has to be trusted: it unpickles and evaluates. Here a file can only name the functions
of :mod:`~.functions`, which are called one after another, and ask for no more memory than its
weights and inputs justify (:mod:`~.bounds`). So a network comes back without its class, and
without running anything of the author's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, SymIntArgument
from torch.fx import Node
from torch.utils import _pytree as pytree

from dyn_lightning.errors import ArtifactError
from dyn_lightning.exports.any_length import any_length
from dyn_lightning.exports.check import ExportError, quiet_evaluation
from dyn_lightning.exports.export import export_program
from dyn_lightning.exports.program.bounds import Allowance
from dyn_lightning.exports.program.document import PROGRAM_VERSION, check_document, results_in
from dyn_lightning.exports.program.functions import NAMED, check_arguments, find_function, name_function, named

PROGRAM = "program.json"
_REMEMBERED = 256
_ASSERTIONS = ("_assert_", "sym_constrain_range")


class ProgramError(ArtifactError, RuntimeError):
    """A call of a program fails on this input, or is refused; the message names it."""


class Program(nn.Module):
    """A network that runs from data. Called like the network that was traced; for evaluation alone.

    Its parameters and buffers have the names that they had there.

    Args:
        document: what :func:`describe_program` made.

    Raises:
        ArtifactError: if it names a function that is not allowed, or is no such document.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        super().__init__()
        try:
            check_document(document)
            self.inputs: list[str] = list(document["inputs"])
            self.outputs = document["outputs"]
            self.tensors: dict[str, str] = {p: t["name"] for p, t in document["tensors"].items()}
            self.calls = [(c["name"], find_function(c["function"]), c["args"], c["kwargs"]) for c in document["calls"]]
            for _, function, args, kwargs in self.calls:
                check_arguments(function, args, kwargs)
            for tensor in document["tensors"].values():
                self._add(**tensor)
        except ArtifactError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError, RecursionError) as error:
            raise ArtifactError(f"is no program ({type(error).__name__}: {error}). Copy the artifact again") from error
        self.done_with = _last_uses(self.calls, self.outputs)
        self._within_bounds: set[Any] = set()  # shapes of inputs on which every call was

    def _add(self, name: str, kind: str, shape: Sequence[int], dtype: str) -> None:
        """A parameter or buffer of a dotted name, in modules that hold nothing else; it takes no memory yet."""
        holder: nn.Module = self
        *path, leaf = name.split(".")
        # Not by add_module and its like: a network's layer may be called as an attribute of this class is.
        for part in path:
            holder = holder._modules.setdefault(part, nn.Module())  # type: ignore[assignment]
        empty = torch.zeros((), dtype=named("dtype", dtype)).expand(tuple(shape))
        if kind == "parameter":
            floating = empty.is_floating_point() or empty.is_complex()
            holder._parameters[leaf] = nn.Parameter(empty, requires_grad=floating)
            return
        holder._buffers[leaf] = empty
        if kind == "constant":
            holder._non_persistent_buffers_set.add(leaf)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        leaves = pytree.tree_leaves(args) + self._in_order(kwargs)
        if len(leaves) > len(self.inputs):
            raise TypeError(f"the network takes {', '.join(self.inputs)}, but {len(leaves)} values were given")
        known: dict[str, object] = dict(zip(self.inputs, leaves + [None] * len(self.inputs), strict=False))
        known.update({place: self.tensor(place) for place in self.tensors})
        key = _shapes_of(leaves)
        # Traced, or followed by another's tensors, a call is made for its shape alone.
        check = key is not None and key not in self._within_bounds
        allowance = Allowance(leaves, [self.tensor(place) for place in self.tensors]) if check else None
        outputs = self._outputs(known, allowance)
        if allowance is not None and not allowance.by_value:
            if len(self._within_bounds) >= _REMEMBERED:
                self._within_bounds.clear()
            self._within_bounds.add(key)
        return outputs

    def _outputs(self, known: dict[str, Any], allowance: Allowance | None) -> Any:
        device = next((x.device for x in known.values() if isinstance(x, Tensor)), torch.device("cpu"))
        for name, traced, call_args, call_kwargs in self.calls:
            # Where a result lies in memory hangs on the machine: a view that the trace could take may need a copy.
            function = torch.ops.aten.reshape.default if traced is torch.ops.aten.view.default else traced
            try:
                arguments = decode(call_args, known, device)
                keywords = {k: decode(v, known, device) for k, v in call_kwargs.items()}
                if allowance is not None:
                    allowance.check(function, arguments, keywords)
                known[name] = function(*arguments, **keywords)
            except Exception as error:  # torch's functions raise of every kind
                text = (str(error).strip().splitlines() or [""])[0][:200]
                raise ProgramError(f"{PROGRAM}: its call {name} fails on this input ({text})") from error
            for done in self.done_with.get(name, ()):
                known.pop(done, None)
            if allowance is not None:
                allowance.alive(known)
        return decode(self.outputs, known, device)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take tensors by name, without a copy. ArtifactError where one is missing or of another shape or kind."""
        for place, name in self.tensors.items():
            found, wanted = state.get(name), self.tensor(place)
            if found is None or found.shape != wanted.shape:
                shape = None if found is None else tuple(found.shape)
                raise ArtifactError(f"{name}: expected {tuple(wanted.shape)}, found {shape}")
            if found.dtype != wanted.dtype and not (found.is_floating_point() and wanted.is_floating_point()):
                raise ArtifactError(f"{name}: expected {wanted.dtype}, found {found.dtype}")
            wanted.data = found.detach()

    def tensor(self, place: str) -> Tensor:
        """The parameter or buffer that a call knows by the name ``place``."""
        return _get(self, self.tensors[place])

    def _in_order(self, kwargs: dict[str, Any]) -> list[Any]:
        names = sorted(kwargs, key=lambda n: self.inputs.index(n) if n in self.inputs else len(self.inputs))
        return pytree.tree_leaves([kwargs[name] for name in names])

    def extra_repr(self) -> str:
        return f"inputs={self.inputs}, {len(self.calls)} calls"


def describe_program(network: nn.Module, example_input: object) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A network's calls as JSON values, and the tensors in it that its state dict lacks.

    Args:
        network: a plain network; its mode is put back.
        example_input: a tensor, a tuple (positional arguments) or a dict (keyword arguments).

    Returns:
        What :class:`Program` takes, and constants (name → tensor).

    Raises:
        ExportError: if torch.export cannot trace it.
        ArtifactError: if it calls what a program cannot hold.
    """
    program = export_program(network, example_input)
    with quiet_evaluation(network), any_length():
        try:
            program = program.run_decompositions({})
        except Exception as error:  # torch.export raises of every kind
            raise ExportError(f"{type(network).__name__} cannot be made free of in-place calls ({error})") from error
    inputs, tensors, constants = _inputs(program, network.state_dict())
    calls, results = _calls(program)
    odd = [s.kind.name for s in program.graph_signature.output_specs if s.kind != OutputKind.USER_OUTPUT]
    if odd:
        raise ArtifactError("it changes its own buffers when it runs, which a program cannot")
    tree = pytree.tree_unflatten(list(results), program.call_spec.out_spec)  # type: ignore[arg-type]
    document = {"program_version": PROGRAM_VERSION, "inputs": inputs, "outputs": _encode(tree)}
    return {**document, "tensors": tensors, "calls": calls}, constants


def _inputs(
    program: ExportedProgram, state: Mapping[str, Tensor]
) -> tuple[list[str], dict[str, object], dict[str, Tensor]]:
    """Names of what the network is called with; name in the program → the tensor of its own; those that state lacks."""
    inputs, tensors, constants = list[str](), dict[str, object](), dict[str, Tensor]()
    for spec in program.graph_signature.input_specs:
        if spec.kind == InputKind.USER_INPUT:
            constant = isinstance(spec.arg, (ConstantArgument, SymIntArgument))
            if constant and getattr(spec.arg, "value", None) is not None:
                raise ArtifactError(f"its argument {spec.arg.name} is no tensor: fix it in the network")
            inputs.append(spec.arg.name)
            continue
        if spec.kind not in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
            raise ArtifactError(f"it holds a {spec.kind.name.lower()}, which a program cannot")
        name = str(spec.target)
        stored = spec.kind != InputKind.CONSTANT_TENSOR and name in state
        value = state[name] if stored else program.constants[name]
        kind = "parameter" if spec.kind == InputKind.PARAMETER else "buffer" if stored else "constant"
        if not stored:
            constants[name] = value.detach()
        dtype = str(value.dtype).removeprefix("torch.")
        tensors[spec.arg.name] = {"name": name, "kind": kind, "shape": list(value.shape), "dtype": dtype}
    return inputs, tensors, constants


def _calls(program: ExportedProgram) -> tuple[list[dict[str, object]], Sequence[Any]]:
    """The calls in their order, and what is answered."""
    calls, results = list[dict[str, object]](), tuple[Any, ...]()
    for node in program.graph.nodes:
        if node.op == "output":
            results = tuple(node.args[0] or ())
        elif node.op == "call_function" and not _is_assertion(node):
            args, kwargs = [_encode(a) for a in node.args], {k: _encode(v) for k, v in node.kwargs.items()}
            call = {"name": node.name, "layer": _layer(node), "function": name_function(node.target)}
            calls.append({**call, "args": args, "kwargs": kwargs})
        elif node.op not in ("placeholder", "call_function"):
            raise ArtifactError(f"it has a part ({node.op} {node.target}) that a program cannot hold")
    return calls, results


def _layer(node: Node) -> str:
    """Qualified name of the module whose code makes a call; empty for the network's own."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def _is_assertion(node: Node) -> bool:
    base = getattr(getattr(node.target, "_schema", None), "name", "").removeprefix("aten::")
    return base.startswith(_ASSERTIONS) and not node.users


def _encode(value: Any) -> Any:
    """Arguments as JSON values: what JSON lacks is an object with one key."""
    if isinstance(value, Node):
        return {"result": value.name}
    if isinstance(value, tuple):
        return {"tuple": [_encode(v) for v in value]}
    if isinstance(value, list):
        return [_encode(v) for v in value]
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {"dict": {k: _encode(v) for k, v in value.items()}}
    if isinstance(value, torch.device):
        return {"device": value.type}
    for kind, (cls, _) in NAMED.items():
        if isinstance(value, cls):
            named(kind, text := str(value).removeprefix("torch."))
            return {kind: text}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise ArtifactError(f"it uses a {type(value).__name__}, which a program cannot hold")


def _shapes_of(leaves: Sequence[object]) -> Any:
    """What tells inputs of other sizes apart; None where they are no plain tensors, as while a network is traced."""
    if not all(type(x) in (Tensor, nn.Parameter) for x in leaves if isinstance(x, Tensor)):
        return None
    if torch.compiler.is_compiling():
        return None
    return tuple((tuple(x.shape), x.dtype) if isinstance(x, Tensor) else (type(x), str(x)) for x in leaves)


def decode(value: Any, known: Mapping[str, Any], device: torch.device) -> Any:
    """Arguments from JSON values, with the results known so far in place of their names."""
    if isinstance(value, list):
        return [decode(v, known, device) for v in value]
    if not isinstance(value, dict):
        return value
    ((key, inner),) = value.items()
    if key == "result":
        return known[inner]
    if key == "tuple":
        return tuple(decode(v, known, device) for v in inner)
    if key == "dict":
        return {k: decode(v, known, device) for k, v in inner.items()}
    if key == "device":
        return device  # a network made on one device runs on any
    if key == "float":
        return float(inner)
    return named(key, inner)


def _get(module: nn.Module, name: str) -> Any:
    *path, leaf = name.split(".")
    for part in path:
        module = module._modules[part]  # type: ignore[assignment]
    return module._parameters[leaf] if leaf in module._parameters else module._buffers[leaf]


def _last_uses(calls: Sequence[Any], outputs: Any) -> dict[str, list[str]]:
    """For each call, the results that are not needed after it: they are let go of, as they are in Python."""
    last = {used: name for name, _, args, kwargs in calls for used in results_in([args, kwargs])}
    kept = set(results_in(outputs))
    done: dict[str, list[str]] = {}
    for used, name in last.items():
        if used not in kept:
            done.setdefault(name, []).append(used)
    return done
