"""Cost of a spoofing countermeasure in front of a speaker verification system (ASV): the t-DCF of ASVspoof 2019.

Kinnunen et al., "t-DCF: a detection cost function for the tandem assessment of spoofing countermeasures and
automatic speaker verification", Odyssey 2018; priors and costs of the ASVspoof 2019 evaluation plan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from dyn_lightning.metrics.det import det_curve
from dyn_lightning.metrics.eer import eer, scored_entries

P_SPOOF = 0.05
P_TARGET = 0.95 * 0.99
P_NONTARGET = 0.95 * 0.01
COST_MISS, COST_FALSE_ALARM = 1.0, 10.0  # of both systems


def asv_error_rates(
    target_scores: Tensor, nontarget_scores: Tensor, spoof_scores: Tensor
) -> tuple[float, float, float]:
    """Operating point of a speaker verification system: its error rates at the threshold of its own EER.

    The threshold is that of targets against zero-effort impostors, by the challenge's convention; the system
    accepts where score >= threshold.

    Args:
        target_scores: (n_target,), higher means the claimed speaker.
        nontarget_scores: (n_nontarget,), zero-effort impostors.
        spoof_scores: (n_spoof,).

    Returns:
        (p_fa, p_miss, p_miss_spoof): shares of non-targets accepted, of targets rejected, of spoofs rejected.

    Raises:
        ValueError: if a class is absent, or for NaN scores.

    >>> asv_error_rates(torch.tensor([2.0, 3.0]), torch.tensor([-1.0, 0.0]), torch.tensor([-2.0, 2.5]))
    (0.5, 0.0, 0.5)
    """
    groups = {"target": target_scores, "nontarget": nontarget_scores, "spoof": spoof_scores}
    for name, scores in groups.items():
        if scores.numel() == 0 or bool(scores.isnan().any()):
            raise ValueError(f"{name}_scores must hold at least one score and no NaN")
    target, nontarget, spoof = (scores.detach().double().flatten() for scores in groups.values())
    labels = torch.cat([torch.ones_like(target), torch.zeros_like(nontarget)])
    _, threshold = eer(torch.cat([target, nontarget]), labels, convention="asvspoof2019")
    rates = ((nontarget >= threshold), (target < threshold), (spoof < threshold))
    p_fa, p_miss, p_miss_spoof = (float(decisions.double().mean()) for decisions in rates)
    return p_fa, p_miss, p_miss_spoof


def min_tdcf(scores: Tensor, targets: Tensor, asv_rates: Sequence[float]) -> float:
    """Normalised minimum tandem detection cost (t-DCF) of a countermeasure, as ASVspoof 2019 has it.

    With s the countermeasure's threshold and the ASV's own rates fixed,

        t-DCF(s) = C1 · P_miss(s) + C2 · P_fa(s),
        C1 = P_target (C_miss − C_miss · P_miss^asv) − P_nontarget · C_fa · P_fa^asv,
        C2 = C_fa · P_spoof · (1 − P_miss,spoof^asv),

    least over s and divided by min(C1, C2): the cost of the better of accepting all and rejecting all, which so
    has 1.

    Args:
        scores: any shape, higher means bona fide.
        targets: same shape, 1 = bona fide, 0 = spoof, below 0 = ignored.
        asv_rates: (p_fa, p_miss, p_miss_spoof), see :func:`asv_error_rates`.

    Returns:
        The cost, at least 0 and at most 1; NaN if either class is absent.

    Raises:
        ValueError: as ``eer``; for rates outside of [0, 1], or an ASV system in front of which no countermeasure has a
            cost (C1 or C2 is not positive).
    """
    c1, c2 = tandem_costs(asv_rates)
    scores, targets = scored_entries(scores, targets)
    if int(targets.sum()) in (0, targets.numel()):
        return math.nan
    p_miss_cm, p_fa_cm, _ = det_curve(scores, targets)
    return float((c1 * p_miss_cm + c2 * p_fa_cm).min()) / min(c1, c2)


def tandem_costs(asv_rates: Sequence[float]) -> tuple[float, float]:
    """What a miss and a false alarm of the countermeasure cost in front of an ASV system: (C1, C2) of :func:`min_tdcf`.

    Args:
        asv_rates: (p_fa, p_miss, p_miss_spoof), see :func:`asv_error_rates`.

    Raises:
        ValueError: for rates outside of [0, 1], or an ASV system in front of which no countermeasure has a cost.
    """
    p_fa, p_miss, p_miss_spoof = (float(rate) for rate in asv_rates)
    if not all(0.0 <= rate <= 1.0 for rate in (p_fa, p_miss, p_miss_spoof)):
        raise ValueError(f"asv_rates must be three shares in [0, 1], got {(p_fa, p_miss, p_miss_spoof)}")
    c1 = P_TARGET * (COST_MISS - COST_MISS * p_miss) - P_NONTARGET * COST_FALSE_ALARM * p_fa
    c2 = COST_FALSE_ALARM * P_SPOOF * (1.0 - p_miss_spoof)
    if c1 <= 0.0 or c2 <= 0.0:
        raise ValueError(
            f"asv_rates {(p_fa, p_miss, p_miss_spoof)}: this ASV system errs so much (or rejects all spoofs) that the "
            "t-DCF is not defined. Check its scores"
        )
    return c1, c2


class MinTDCF(Metric):
    """``min_tdcf`` over all batches and processes.

    ``update`` takes scores and targets of one shape and the ASV's rates, (3,) or one row per entry, (batch, 3), which
    must be the same everywhere. It keeps five bytes per entry until ``compute``, and the rates once per batch.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    scores: list[Tensor]
    targets: list[Tensor]
    asv_rates: list[Tensor]

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        for name in ("scores", "targets", "asv_rates"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, targets: Tensor, asv_rates: Tensor) -> None:
        scores, targets = scored_entries(scores, targets)
        self.scores.append(scores.float())
        self.targets.append(targets.to(torch.int8))
        self.asv_rates.append(asv_rates.detach().reshape(-1, 3).unique(dim=0))

    def compute(self) -> Tensor:
        scores, rates = dim_zero_cat(self.scores), dim_zero_cat(self.asv_rates).unique(dim=0)
        if len(rates) != 1:
            raise ValueError(f"one evaluation set has one ASV system, but its batches give rates {rates.tolist()}")
        cost = min_tdcf(scores, dim_zero_cat(self.targets), rates[0].tolist())
        return torch.tensor(cost, dtype=torch.float64, device=scores.device)
