"""How the model of a checkpoint is made: its settings stand where the user gave none, and import nothing unasked."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

import dyn_lightning
from dyn_lightning.artifact.trained import PATHS
from dyn_lightning.cli.sources import given_strings
from dyn_lightning.errors import UserError

PACKAGE = dyn_lightning.__name__
CALLABLES = ("optimizer", "width_class")
"""Settings whose value may be the name of a class by itself."""


def vetted(model: Mapping[str, Any], checkpoint: str, args: Sequence[str], trusted: bool = False) -> dict[str, object]:
    """Settings of a checkpoint's model, if whatever they name may be imported.

    Importing a class runs its module's code. So those of this package, and torch's optimisers and layers, are imported;
    others only if the user names them too, in a configuration or on the command line, or trusts the file. Without
    trust, ``trained_network`` does not trust its artifact either.

    Args:
        model: the settings, with class paths.
        checkpoint: the file.
        args: the command line.
        trusted: import whatever is named.

    Raises:
        UserError: names the class and the file.
    """
    if trusted:
        return dict(model)
    known = given_strings(args)
    for path in _named(model):
        if not (is_safe(path) or path in known):
            raise UserError(
                f"{checkpoint}: names {path}, which is not of this package and is not imported. If it is yours, name "
                "it as well (-c config.yaml, or --model.…); if you trust whoever made the file, add --trusted"
            )
    found: dict[str, object] = _without_trust(model)
    return found


def is_safe(path: str) -> bool:
    """Whether a dotted name is of a class or function of this package, or of torch's optimisers and layers."""
    module, _, name = path.rpartition(".")
    if not f"{module}.".startswith((f"{PACKAGE}.", "torch.optim.", "torch.nn.")):
        return False
    try:
        found = getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError, TypeError):
        return False
    home = str(getattr(found, "__module__", ""))
    if home == PACKAGE or home.startswith(f"{PACKAGE}."):
        return callable(found)
    if not isinstance(found, type):
        return False
    return (home.startswith("torch.optim") and issubclass(found, torch.optim.Optimizer)) or (
        home.startswith("torch.nn.") and issubclass(found, nn.Module)
    )


def differences(checkpoint: Mapping[str, object], now: Mapping[str, object], name: str = "model") -> list[str]:
    """What is set otherwise than in a checkpoint, as "model.lr 1e-06, not 0.001", where both say something."""
    found: list[str] = []
    for key in checkpoint.keys() & now.keys():
        before, after, full = checkpoint[key], now[key], f"{name}.{key}"
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            if before.get("class_path") != after.get("class_path"):
                found.append(f"{full} {after.get('class_path')}, not {before.get('class_path')}")
            else:
                found += differences(before, after, full.removesuffix(".init_args"))
        elif before != after:
            found.append(f"{full} {after}, not {before}")
    return sorted(found)


def _named(value: Any, key: str = "") -> Iterator[str]:
    """Every name in settings that would be imported."""
    if isinstance(value, Mapping):
        for inner, item in value.items():
            if inner == "class_path" and isinstance(item, str):
                yield item
            yield from _named(item, str(inner))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _named(item, key)
    elif isinstance(value, str) and key in CALLABLES:
        yield value


def _without_trust(value: Any) -> Any:
    if isinstance(value, Mapping):
        inner = {k: _without_trust(v) for k, v in value.items()}
        arguments = inner.get("init_args")
        if inner.get("class_path") in PATHS and isinstance(arguments, dict) and "trusted" in arguments:
            arguments["trusted"] = False
        return inner
    return [_without_trust(v) for v in value] if isinstance(value, (list, tuple)) else value
