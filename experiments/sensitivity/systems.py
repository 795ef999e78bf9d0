"""What the study of β and λ_min compares: the paper's procedure at every pair, and budgets, which need neither."""

from __future__ import annotations

from experiments.cases import Case, least_share
from experiments.grid import FULL, System

TASKS = ("filter_bank", "digits", "vad", "vad_transformer")
BETAS = (0.1, 0.5, 1.0, 2.0)
LAM_MINS = (0.0625, 0.125, 0.25, 0.5)
BUDGETS = (0.5, 0.25, 0.125, 0.0625)
"""Shares of all FLOPs at full size."""


def paper(beta: float, lam_min: float) -> System:
    """The paper's procedure with all sizes learned."""
    return System(f"β {beta:g}, λ ≥ {lam_min:g}", beta=beta, lam_min=lam_min)


def all_systems(case: Case) -> list[System]:
    """The full network, budgets within reach, then the grid."""
    budgets = [System(f"budget {100 * share:g} %", share=share) for share in BUDGETS if share > least_share(case, None)]
    return [FULL, *budgets, *(paper(beta, lam_min) for beta in BETAS for lam_min in LAM_MINS)]
