"""The dynamic network: built from a backbone and its graph, run at the sizes in use, and made plain again."""

from dyn_lightning.network.dynamic import DynamicNetwork

__all__ = ["DynamicNetwork"]
