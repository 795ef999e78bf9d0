"""The registry of backbones: a name and a function that makes a network with random weights, and an input for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

Maker = Callable[[], tuple[nn.Module, Any]]

OWN: dict[str, Maker] = {}
LIBRARIES: dict[str, Maker] = {}
LARGE: dict[str, Maker] = {}
LIBRARY_OF: dict[str, str] = {}


def own(make: Maker) -> Maker:
    """Register a network written here, by its function's name."""
    OWN[make.__name__] = make
    return make


def of_library(library: str, registry: dict[str, Maker] = LIBRARIES) -> Callable[[Maker], Maker]:
    """Register a network of a library by others, as "library/name"; importing that library is left to the maker."""

    def register(make: Maker) -> Maker:
        name = f"{library}/{make.__name__.removeprefix(f'{library}_')}"
        registry[name] = make
        LIBRARY_OF[name] = library
        return make

    return register
