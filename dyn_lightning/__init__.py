"""Learn the layer sizes of a speech network under a FLOPs budget while it trains."""

__version__ = "0.1.0"
