"""Sweeps: W&B's sweep files on this machine, and the Pareto set of what came out."""
