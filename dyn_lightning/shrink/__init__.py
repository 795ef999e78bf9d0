"""A trained network made small, with itself as the teacher."""

from dyn_lightning.shrink.run import shrink
from dyn_lightning.shrink.start import Start, begin

__all__ = ["Start", "begin", "shrink"]
