"""Python's search for unreachable cycles, put off while many objects are made that stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS = 20_000
"""Containers that may be made before the youngest are searched: Python's own 700 take a quarter of all the time."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Search for unreachable cycles less often. What is in no cycle is freed at once, as ever."""
    before = gc.get_threshold()
    if before[0]:  # 0: never
        gc.set_threshold(max(before[0], OBJECTS), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
