"""An ONNX file: the names of its inputs and outputs, what it says of itself, and how it is opened."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.exports.check import ExportError, first_line
from dyn_lightning.inputs import tensors_in
from dyn_lightning.optional import MissingExtraError, require

_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_QUIET = 4  # ONNX Runtime writes on stderr what it raises as well
_PLACE = re.compile(r"\[ONNXRuntimeError\].*?failed:\s*")
_ODD = re.compile(r"\W+")


def need_onnx() -> None:
    """Raises ExportError that names what is not installed."""
    for name in _NEEDED:
        try:
            require(name)
        except MissingExtraError as error:
            raise ExportError(str(error)) from error


def open_onnx(path: str) -> Any:
    """An ONNX Runtime session of a file, on the CPU.

    Raises:
        ExportError: if ONNX Runtime refuses the file.
    """
    onnxruntime: Any = require("onnxruntime")

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # it raises of kinds of its own
        raise ExportError(f"ONNX Runtime refuses the file ({_PLACE.sub('', first_line(error))})") from error


def onnx_call(session: Any) -> Callable[..., list[Tensor]]:
    """An ONNX Runtime session as a function of tensors, positional or in nested keyword arguments, in their order."""

    def call(*args: object, **kwargs: object) -> list[Tensor]:
        given = [t.detach().cpu().numpy() for t in tensors_in((args, kwargs))]
        names = [entry.name for entry in session.get_inputs()]
        if len(names) != len(given):
            raise ExportError(f"the ONNX graph takes {', '.join(names)}, but {len(given)} tensors were given")
        return [torch.from_numpy(a) for a in session.run(None, dict(zip(names, given, strict=True)))]

    return call


def input_names(
    network: nn.Module, args: Sequence[object], kwargs: Mapping[str, object], given: Sequence[str]
) -> list[str]:
    """A name for each input tensor: those that are given, then the arguments' own, with the keys of what they hold.

    >>> input_names(nn.Linear(2, 2), (torch.ones(1, 2),), {}, ())
    ['input']
    """
    parameters = inspect.signature(network.forward).parameters.values()
    several = inspect.Parameter.VAR_POSITIONAL
    own = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is several), "input")
    names = [*own, *(f"{rest}_{i}" for i in range(len(args) - len(own)))][: len(args)]
    found = [name for root, value in [*zip(names, args, strict=True), *kwargs.items()] for name in _leaves(root, value)]
    return _filled(given, found, ())


def output_names(network: nn.Module, output: Any, given: Sequence[str], taken: Iterable[str]) -> list[str]:
    """A name for each output tensor: those that are given, then ``output`` with places and keys.

    A network may say by ``result_names`` what the entries of the tuple that it gives are called. What comes back under
    the name of an input is called ``…_next``.
    """
    roots = getattr(network, "result_names", None)
    if roots and isinstance(output, tuple):
        found = [name for root, value in zip(roots, output, strict=True) for name in _leaves(root, value)]
    else:
        found = list(_leaves("output", output))
    return _filled(given, found, taken)


def set_metadata(path: str, values: Mapping[str, Any]) -> None:
    """Write what is to be known of a network into its ONNX file: text as it is, all else as JSON."""
    onnx: Any = require("onnx")

    model = onnx.load(path)
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    onnx.helper.set_model_props(model, {**{p.key: p.value for p in model.metadata_props}, **texts})
    Path(path).write_bytes(model.SerializeToString())


def _leaves(name: str, value: Any) -> list[str]:
    if isinstance(value, Tensor):
        return [name]
    if isinstance(value, Mapping):
        return [leaf for key, entry in value.items() for leaf in _leaves(f"{name}_{_ODD.sub('_', str(key))}", entry)]
    if isinstance(value, (list, tuple)):
        return [leaf for place, entry in enumerate(value) for leaf in _leaves(f"{name}_{place}", entry)]
    return []


def _filled(given: Sequence[str], own: Sequence[str], taken: Iterable[str]) -> list[str]:
    """Names that are given, then own ones, each once."""
    seen, names = set(taken), list[str]()
    for name in [*given[: len(own)], *own[len(given) :]]:
        while name in seen:
            name = f"{name}_next"
        seen.add(name)
        names.append(name)
    return names
