"""A network as data: the calls of torch's functions that it makes, traced by torch.export, written as JSON.

What ``torch.export.load`` reads has to be trusted: it unpickles and evaluates. Here a file can only name functions of
torch's ``aten`` that change nothing in place, and Python's arithmetic for sizes; they are looked up in these tables
and called one after another. So a network comes back without its class, and without running anything of the author's.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, SymIntArgument
from torch.fx import Node
from torch.utils import _pytree as pytree

from dyn_lightning.artifact.kinds import ArtifactError
from dyn_lightning.exports.any_length import any_length
from dyn_lightning.exports.check import ExportError, quiet_evaluation
from dyn_lightning.exports.export import export_program

PROGRAM_VERSION = 1
_ARITHMETIC: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        *(operator.getitem, operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv),
        *(operator.mod, operator.neg, operator.pow, operator.eq, operator.ne, operator.lt, operator.le),
        *(operator.gt, operator.ge, operator.and_, operator.or_, operator.not_, math.trunc, math.ceil, math.floor),
        *(torch.sym_max, torch.sym_min, torch.sym_int, torch.sym_float, torch.sym_not, torch.sym_ite),
    )
}
# Functions without a tensor among their arguments. (``from_file``, which is not here, opens files.)
_FACTORIES = {"arange", "empty", "eye", "full", "hann_window", "linspace", "ones", "scalar_tensor", "zeros"}
# Of those that torch keeps for itself, the ones that tracing leaves in networks.
_INTERNAL = (
    *("_softmax", "_log_softmax", "_safe_softmax", "_scaled_dot_product", "_native_batch_norm_legit", "_weight_norm"),
    *("_to_copy", "_unsafe_view", "_embedding_bag", "_adaptive_avg_pool", "_fft", "_pad", "_upsample", "_conj"),
)
_ASSERTIONS = ("_assert_", "sym_constrain_range")


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
        if document.get("program_version") != PROGRAM_VERSION:
            raise ArtifactError(f"has program version {document.get('program_version')}, not {PROGRAM_VERSION}")
        try:
            self.inputs: list[str] = list(document["inputs"])
            self.outputs = document["outputs"]
            self.tensors: dict[str, str] = {p: t["name"] for p, t in document["tensors"].items()}
            self.calls = [(c["name"], find_function(c["function"]), c["args"], c["kwargs"]) for c in document["calls"]]
            for tensor in document["tensors"].values():
                self._add(**tensor)
        except (KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"is no program ({type(error).__name__}: {error}). Copy the artifact again") from error
        self.done_with = _last_uses(self.calls, self.outputs)

    def _add(self, name: str, kind: str, shape: Sequence[int], dtype: str) -> None:
        """A parameter or buffer of a dotted name, in modules that hold nothing else."""
        *path, leaf = name.split(".")
        holder: nn.Module = self
        for part in path:
            if part not in holder._modules:
                holder.add_module(part, nn.Module())
            holder = holder._modules[part]  # type: ignore[assignment]
        empty = torch.zeros(tuple(shape), dtype=_named(torch.dtype, dtype))
        if kind == "parameter":
            holder.register_parameter(leaf, nn.Parameter(empty, requires_grad=empty.is_floating_point()))
        else:
            holder.register_buffer(leaf, empty, persistent=kind == "buffer")

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        leaves = pytree.tree_leaves(args) + self._in_order(kwargs)
        if len(leaves) > len(self.inputs):
            raise TypeError(f"the network takes {', '.join(self.inputs)}, but {len(leaves)} values were given")
        known: dict[str, Any] = dict(zip(self.inputs, leaves + [None] * len(self.inputs), strict=False))
        known.update({place: self.tensor(place) for place in self.tensors})
        device = next((x.device for x in known.values() if isinstance(x, Tensor)), torch.device("cpu"))
        for name, function, call_args, call_kwargs in self.calls:
            keywords = {k: decode(v, known, device) for k, v in call_kwargs.items()}
            known[name] = function(*decode(call_args, known, device), **keywords)
            for done in self.done_with.get(name, ()):
                known.pop(done, None)
        return decode(self.outputs, known, device)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take tensors by name, without a copy. ArtifactError where one is missing or of another shape."""
        for place, name in self.tensors.items():
            found, wanted = state.get(name), self.tensor(place)
            if found is None or found.shape != wanted.shape:
                shape = None if found is None else tuple(found.shape)
                raise ArtifactError(f"{name}: expected {tuple(wanted.shape)}, found {shape}")
            wanted.data = found.detach()

    def tensor(self, place: str) -> Tensor:
        """The parameter or buffer that a call knows by the name ``place``."""
        return _get(self, self.tensors[place])

    def _in_order(self, kwargs: dict[str, Any]) -> list[Any]:
        names = sorted(kwargs, key=lambda n: self.inputs.index(n) if n in self.inputs else len(self.inputs))
        return pytree.tree_leaves([kwargs[name] for name in names])

    def extra_repr(self) -> str:
        return f"inputs={self.inputs}, {len(self.calls)} calls"


def describe_program(network: nn.Module, example_input: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
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
    state, constants, tensors, inputs = network.state_dict(), {}, {}, []
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
    calls, results = [], None
    for node in program.graph.nodes:
        if node.op == "output":
            results = node.args[0]
        elif node.op == "call_function" and not _is_assertion(node):
            args, kwargs = [_encode(a) for a in node.args], {k: _encode(v) for k, v in node.kwargs.items()}
            call = {"name": node.name, "layer": _layer(node), "function": name_function(node.target)}
            calls.append({**call, "args": args, "kwargs": kwargs})
        elif node.op not in ("placeholder", "call_function"):
            raise ArtifactError(f"it has a part ({node.op} {node.target}) that a program cannot hold")
    odd = [s.kind.name for s in program.graph_signature.output_specs if s.kind != OutputKind.USER_OUTPUT]
    if odd:
        raise ArtifactError("it changes its own buffers when it runs, which a program cannot")
    tree = pytree.tree_unflatten(list(results or ()), program.call_spec.out_spec)  # type: ignore[arg-type]
    document = {"program_version": PROGRAM_VERSION, "inputs": inputs, "outputs": _encode(tree)}
    return {**document, "tensors": tensors, "calls": calls}, constants


def _layer(node: Node) -> str:
    """Qualified name of the module whose code makes a call; empty for the network's own."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def name_function(function: Any) -> str:
    """``aten.<name>.<overload>`` or the name of a function for sizes. ArtifactError for any other."""
    if isinstance(function, torch._ops.OpOverload) and function.namespace == "aten":
        name = f"aten.{function._schema.name.removeprefix('aten::')}.{function._overloadname}"
    else:
        name = getattr(function, "__name__", str(function))
        if _ARITHMETIC.get(name) is not function:
            raise ArtifactError(f"it calls {function}, which a program cannot hold")
    find_function(name)
    return name


def find_function(name: str) -> Callable[..., Any]:
    """The function of a name that :func:`name_function` gave. ArtifactError where it is not allowed."""
    if name in _ARITHMETIC:
        return _ARITHMETIC[name]
    space, _, rest = name.partition(".")
    base, _, overload = rest.partition(".")
    packet = getattr(torch.ops.aten, base, None) if space == "aten" and base.isidentifier() else None
    function = getattr(packet, overload, None) if isinstance(packet, torch._ops.OpOverloadPacket) else None
    if not isinstance(function, torch._ops.OpOverload):
        raise ArtifactError(f"names the function {name}, which this version of torch does not have")
    schema = function._schema
    takes_tensor = any("Tensor" in str(argument.type) for argument in schema.arguments)
    if schema.is_mutable or (base.startswith("_") and not base.startswith(_INTERNAL)):
        raise ArtifactError(f"names the function {name}, which is not allowed")
    if not takes_tensor and base not in _FACTORIES:
        raise ArtifactError(f"names the function {name}, which is not allowed")
    return function


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
    for kind in _NAMED:
        if isinstance(value, kind):
            return {kind.__name__: str(value).removeprefix("torch.")}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise ArtifactError(f"it uses a {type(value).__name__}, which a program cannot hold")


_NAMED: tuple[Any, ...] = (torch.dtype, torch.layout, torch.memory_format)


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
    kinds = {kind.__name__: kind for kind in _NAMED}
    return _named(kinds[key], inner)


def _named(kind: Any, name: str) -> Any:
    value = getattr(torch, name, None)
    if not isinstance(value, kind):
        raise ArtifactError(f"names torch.{name}, which is no {kind.__name__}")
    return value


def _get(module: nn.Module, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part)
    return module


def _last_uses(calls: Sequence[Any], outputs: Any) -> dict[str, list[str]]:
    """For each call, the results that are not needed after it: they are let go of, as they are in Python."""
    last = {used: name for name, _, args, kwargs in calls for used in results_in([args, kwargs])}
    kept = set(results_in(outputs))
    done: dict[str, list[str]] = {}
    for used, name in last.items():
        if used not in kept:
            done.setdefault(name, []).append(used)
    return done


def results_in(value: Any) -> list[str]:
    """Names of the results that arguments refer to."""
    if isinstance(value, dict):
        own = [value["result"]] if isinstance(value.get("result"), str) else []
        return own + [r for v in value.values() for r in results_in(v)]
    return [r for v in value for r in results_in(v)] if isinstance(value, list) else []
