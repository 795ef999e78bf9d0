"""Learn the layer sizes of a speech network under a FLOPs budget while it trains."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dyn_lightning.consolidate import consolidate
    from dyn_lightning.dynamize import dynamize
    from dyn_lightning.module import DynamicModule
    from dyn_lightning.shrink import shrink
    from dyn_lightning.widths.width import Width

__all__ = ["DynamicModule", "Width", "__version__", "consolidate", "dynamize", "shrink"]

_LAZY = {
    "DynamicModule": "dyn_lightning.module.dynamic_module",
    "Width": "dyn_lightning.widths.width",
    "consolidate": "dyn_lightning.consolidate",
    "dynamize": "dyn_lightning.dynamize",
    "shrink": "dyn_lightning.shrink",
}


class _Package(ModuleType):
    """Imports what is asked for, when it is asked for: torch and Lightning take seconds.

    ``consolidate``, ``dynamize`` and ``shrink`` are functions here, though the modules that hold them have the same
    names.
    """

    def __getattribute__(self, name: str) -> Any:
        if name in _LAZY:
            return getattr(import_module(_LAZY[name]), name)
        return super().__getattribute__(name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_LAZY})


sys.modules[__name__].__class__ = _Package
