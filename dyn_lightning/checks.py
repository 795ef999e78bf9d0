"""Settings refused by name where they cannot be: numbers, NaN and infinities among them, and paths of classes."""

from __future__ import annotations

import importlib
import math
from typing import Any

from dyn_lightning.errors import SettingError

Number = float | None
"""A setting; None, where it may be left out, is passed over."""


def positive(**settings: Number) -> None:
    """Each is above 0 and finite. Raises SettingError."""
    for name, value in settings.items():
        if value is not None and not (_is_number(value) and 0.0 < value < math.inf):
            raise SettingError(f"{name} must be positive, got {value}")


def at_least(least: float, **settings: Number) -> None:
    """Each is ``least`` or more, and finite. Raises SettingError."""
    for name, value in settings.items():
        if value is not None and not (_is_number(value) and least <= value < math.inf):
            raise SettingError(f"{name} must be {least:g} or more, got {value}")


def whole(least: int, **settings: Number) -> None:
    """Each is a whole number, ``least`` or more. Raises SettingError."""
    for name, value in settings.items():
        if value is not None and not (_is_number(value) and value == math.floor(value) and value >= least):
            raise SettingError(f"{name} must be a whole number, {least} or more, got {value}")


def within(low: float, high: float, **settings: Number) -> None:
    """Each lies in [low, high]. Raises SettingError."""
    for name, value in settings.items():
        if value is not None and not (_is_number(value) and low <= value <= high):
            raise SettingError(f"{name} must lie in [{low:g}, {high:g}], got {value}")


def proper_share(**settings: Number) -> None:
    """Each lies between 0 and 1 and is neither. Raises SettingError."""
    for name, value in settings.items():
        if value is not None and not (_is_number(value) and 0.0 < value < 1.0):
            raise SettingError(f"{name} must lie between 0 and 1, got {value}")


def ascending(**limits: float) -> None:
    """Finite limits, each no less than the one before. Raises SettingError that names all."""
    values = list(limits.values())
    if not all(_is_number(v) and math.isfinite(v) for v in values) or values != sorted(values):
        raise SettingError(f"{' ≤ '.join(limits)} must hold for numbers, got {', '.join(map(str, values))}")


def _is_number(value: object) -> bool:
    """Whether a value is a number and a finite one, or an infinity that comparisons find."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def imported(path: str, option: str) -> Any:
    """What a dotted path such as ``my_package.module.name`` leads to. Raises SettingError where it leads nowhere."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingError(f"{option}={path} cannot be imported ({error})") from error
