"""Learn the layer sizes of a speech network under a FLOPs budget while it trains."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.width import Width

if TYPE_CHECKING:
    from dyn_lightning.module import DynamicModule

__all__ = ["DynamicModule", "Width", "__version__", "consolidate", "dynamize"]


def __getattr__(name: str) -> Any:
    # On demand, for those who train with a loop of their own: Lightning takes seconds to import.
    if name == "DynamicModule":
        return import_module("dyn_lightning.module").DynamicModule
    raise AttributeError(f"module 'dyn_lightning' has no attribute {name!r}")
