"""Sweeps: W&B's sweep files on this machine, a FLOPs-aware score, and the Pareto set of what came out."""

from dyn_lightning.sweep.score_at_budget import ScoreAtBudget, score_at_budget

__all__ = ["ScoreAtBudget", "score_at_budget"]
