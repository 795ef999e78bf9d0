"""Calls that have no price: they are named wherever a cost is given, and no budget passes over them unasked."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase

from dyn_lightning.errors import SettingError


def in_words(uncounted: Sequence[str]) -> str:
    """Each call once, with how often it is made, ten at most."""
    calls = Counter(uncounted)
    words = [f"{call} ×{n}" if n > 1 else call for call, n in calls.most_common(10)]
    return ", ".join(words) + (f" and {len(calls) - 10} more" if len(calls) > 10 else "")


def warn_uncounted(who: str, uncounted: Sequence[str], stacklevel: int = 3) -> None:
    """Say which calls no count of FLOPs includes."""
    if uncounted:
        warnings.warn(
            f"{who}: these calls have no price, so their FLOPs are in no count: {in_words(uncounted)}",
            stacklevel=stacklevel,
        )


def refuse_uncounted(uncounted: Sequence[str], allowed: Sequence[str]) -> None:
    """See that all calls without a price are allowed to have none.

    Args:
        uncounted: as ``Complexity.uncounted``: "module.function (function)".
        allowed: patterns (``fnmatch``) of such calls: of the whole, of "module.function", or of "function".

    Raises:
        SettingError: names the others.
    """
    others = [call for call in uncounted if not any(fnmatchcase(name, p) for name in _names(call) for p in allowed)]
    if others:
        kinds = ", ".join(sorted({_names(call)[2] for call in others}))
        raise SettingError(
            f"a budget of FLOPs cannot be kept where calls have no price: {in_words(others)}. "
            f"If their FLOPs may be left out, say so: allow_uncounted: [{kinds}]"
        )


def patterns(allow_uncounted: Sequence[str]) -> tuple[str, ...]:
    """What a user gave as ``allow_uncounted``. Raises SettingError for a bare string, which is no list."""
    if isinstance(allow_uncounted, str):
        raise SettingError(f"allow_uncounted is a list of patterns, not {allow_uncounted!r}")
    return tuple(allow_uncounted)


def _names(call: str) -> tuple[str, str, str]:
    name, _, kind = call.removesuffix(")").rpartition(" (")
    return call, name, kind
