"""Layers as JSON values: a layer's kind, and the constructor's arguments that made it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from dyn_lightning.errors import ArtifactError
from dyn_lightning.registry import Registry


@dataclass(frozen=True)
class Kind:
    """How layers of a class are written down: by those constructor's arguments that they keep as attributes.

    Attributes:
        cls: the class.
        arguments: of its constructor, where it does not name them.
        kept_as: argument → what it was, asked of a layer that keeps it in another form; None: it is not to be given.
    """

    cls: type[nn.Module]
    arguments: tuple[str, ...] = ()
    kept_as: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)


KINDS: Registry[str, Kind] = Registry("layer of its name")


def describes(
    cls: type[nn.Module],
    *,
    arguments: tuple[str, ...] = (),
    kept_as: Mapping[str, Callable[[Any], Any]] | None = None,
    by: Any = None,
) -> None:
    """Let layers of a class be written down: see :class:`Kind`. SettingError where one of that name is already."""
    KINDS.add(cls.__name__, Kind(cls, arguments, kept_as or {}), by=by or cls)


_PLACES = ("device", "dtype", "process_group")


def is_known(layer: nn.Module) -> bool:
    """Whether :func:`describe_layer` takes it: the class itself, not one derived of it."""
    found: Kind | None = KINDS.get(type(layer).__name__)
    return found is not None and found.cls is type(layer)


def describe_layer(layer: nn.Module) -> dict[str, Any]:
    """Kind, sizes and options of a layer as JSON values, from which :func:`build_layer` makes it again.

    Raises:
        ArtifactError: if layers of this class are not known.
    """
    kind = type(layer).__name__
    if not is_known(layer):
        raise ArtifactError(f"{kind} cannot be described, only {', '.join(KINDS)}")
    options = {}
    known = KINDS[kind]
    for name in known.arguments or inspect.signature(known.cls).parameters:
        if name in known.kept_as:
            value = known.kept_as[name](layer)
            if value is not None:
                options[name] = value
        elif hasattr(layer, name) and name not in _PLACES and not name.startswith("_"):
            value = getattr(layer, name)
            # Some layers keep whether they were to have a bias, most the bias itself or None.
            options[name] = value is not None if name == "bias" and not isinstance(value, bool) else value
    return {"kind": kind, "options": options}


def build_layer(description: Mapping[str, Any]) -> nn.Module:
    """The layer that :func:`describe_layer` described, with fresh weights.

    Raises:
        ArtifactError: for an unknown kind, or options that its class refuses.
    """
    kind = description.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ArtifactError(
            f"unknown layer kind {kind!r} (known: {', '.join(KINDS)}); load with the version that wrote it, "
            "and import the module that declares it, if it is your own"
        )
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in description.get("options", {}).items()}
    if odd := [name for name, value in options.items() if value is None and not may_be_none(KINDS[kind].cls, name)]:
        raise ArtifactError(f"a {kind} of the options {options} cannot be built ({', '.join(odd)} must not be null)")
    try:
        return KINDS[kind].cls(**options)
    except (AssertionError, TypeError, ValueError, RuntimeError, ArithmeticError, LookupError, AttributeError) as error:
        raise ArtifactError(f"a {kind} of the options {options} cannot be built ({error})") from error


def may_be_none(cls: type[nn.Module], name: str) -> bool:
    """Whether a constructor takes None for an argument: by its default, or by its annotation."""
    parameter = inspect.signature(cls).parameters.get(name)
    if parameter is None:  # torch.nn's recurrent layers name none of theirs
        return False
    if name == "momentum":  # which instance norms take as well, though they do not say so
        return True
    return parameter.default is None or any(word in str(parameter.annotation) for word in ("None", "Optional"))
