"""Metrics: the formula as a function, and a torchmetrics class that only keeps its state."""
