"""The form of ``program.json``, which may come from anybody: every value of it is looked at before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dyn_lightning.errors import ArtifactError
from dyn_lightning.exports.program.functions import NAMED

PROGRAM_VERSION = 1
_DEEPEST, _LONGEST_NAME = 32, 1024
_LARGEST = 2**40  # of a dimension of a weight
_KINDS = ("parameter", "buffer", "constant")
_PLAIN = (bool, int, float, str, type(None))
_WRAPPED = {"result", "tuple", "dict", "device", "float", *NAMED}


def check_document(document: Any) -> None:
    """See that a value is the document of a program, and that each result is named before it is used.

    Raises:
        ArtifactError: says what is wrong.
    """
    version = document.get("program_version") if isinstance(document, Mapping) else None
    if version != PROGRAM_VERSION:
        raise ArtifactError(f"has program version {version}, not {PROGRAM_VERSION}")
    kinds = {"inputs": list, "tensors": dict, "calls": list}
    for key, kind in kinds.items():
        _require(isinstance(document.get(key), kind), f"its {key} are no {kind.__name__}")
    _require("outputs" in document, "it has no outputs")
    known: set[str] = set()
    for name in document["inputs"]:
        _name(name, known)
    names: set[str] = set()
    for place, tensor in document["tensors"].items():
        _name(place, known)
        _tensor(place, tensor)
        _name(tensor["name"], names)
    inside = sorted(names & _parents(names))
    _require(not inside, f"{', '.join(inside[:3])} is a tensor and holds others")
    for call in document["calls"]:
        _require(
            isinstance(call, dict) and {"name", "function", "args", "kwargs"} <= call.keys(), "a call lacks a part"
        )
        _require(isinstance(call["function"], str), "a function's name is no text")
        _require(isinstance(call["args"], list) and isinstance(call["kwargs"], dict), "a call's arguments are no list")
        _values([call["args"], list(call["kwargs"].values())], known)
        _name(call["name"], known)
    _values(document["outputs"], known)


def _parents(names: set[str]) -> set[str]:
    """All names of modules that these names of tensors lie in."""
    return {".".join(parts[:i]) for name in names if (parts := name.split(".")) for i in range(1, len(parts))}


def _tensor(place: str, tensor: Any) -> None:
    _require(isinstance(tensor, dict) and tensor.keys() == {"name", "kind", "shape", "dtype"}, f"{place} lacks a part")
    _require(tensor["kind"] in _KINDS, f"{place} is of the kind {tensor['kind']!r}")
    shape = tensor["shape"]
    sound = isinstance(shape, list) and all(type(n) is int and 0 <= n <= _LARGEST for n in shape) and len(shape) <= 16
    _require(sound, f"{place} has the shape {str(shape)[:80]}")


def _name(name: Any, known: set[str]) -> None:
    sound = isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and all(name.split("."))
    _require(sound, f"{str(name)[:80]!r} is no name")
    _require(name not in known, f"{name} is there twice")
    known.add(name)


def _values(value: Any, known: set[str], depth: int = 0) -> None:
    _require(depth <= _DEEPEST, "its values are nested too deep")
    if isinstance(value, list):
        for inner in value:
            _values(inner, known, depth + 1)
        return
    if not isinstance(value, dict):
        _require(type(value) in _PLAIN, f"a {type(value).__name__} is no value")
        _require(type(value) is not int or abs(value) < 2**63, "a number is too large")
        return
    _require(len(value) == 1, f"{str(value)[:80]} is no value")
    ((key, inner),) = value.items()
    _require(key in _WRAPPED, f"a {key!r} is no value")
    if key == "result":
        _require(isinstance(inner, str) and inner in known, f"it uses {str(inner)[:80]!r} before it is there")
    elif key == "tuple":
        _require(isinstance(inner, list), "a tuple is no list")
        _values(inner, known, depth + 1)
    elif key == "dict":
        _require(isinstance(inner, dict), "a dict is none")
        _values(list(inner.values()), known, depth + 1)
    elif key == "float":
        _require(inner in ("inf", "-inf", "nan"), f"{str(inner)[:80]!r} is no number")
    else:
        _require(isinstance(inner, str), f"a {key}'s name is no text")


def results_in(value: Any) -> list[str]:
    """Names of the results that arguments refer to."""
    if isinstance(value, dict):
        own = [value["result"]] if isinstance(value.get("result"), str) else []
        return own + [r for v in value.values() for r in results_in(v)]
    return [r for v in value for r in results_in(v)] if isinstance(value, list) else []


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ArtifactError(f"is no program ({problem}). Copy the artifact again")
