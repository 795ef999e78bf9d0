"""Detection error trade-off: misses against false alarms at every threshold."""

from __future__ import annotations

import torch
from torch import Tensor

from dyn_lightning.metrics.eer import scored_entries


def det_curve(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Error rates of the decision "positive where score >= threshold", at every threshold that differs.

    Args:
        scores: any shape, higher means positive.
        targets: same shape, 1 = positive, 0 = negative, below 0 = ignored.

    Returns:
        (p_miss, p_false_alarm, thresholds), (points,) float64 each, on the CPU: thresholds are the distinct scores
        upwards and infinity, misses rise from 0 to 1, false alarms fall from 1 to 0.

    Raises:
        ValueError: for different shapes, NaN scores, targets above 0 other than 1, or if either class is absent.

    >>> p_miss, p_false_alarm, thresholds = det_curve(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0, 1, 1]))
    >>> p_miss.tolist(), p_false_alarm.tolist(), thresholds.tolist()
    ([0.0, 0.0, 0.5, 1.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 2.0, inf])
    """
    scores, targets = scored_entries(scores.cpu(), targets.cpu())
    n_positive = int(targets.sum())
    n_negative = targets.numel() - n_positive
    if 0 in (n_positive, n_negative):
        raise ValueError(f"a curve needs both classes, there are {n_positive} positives and {n_negative} negatives")
    thresholds, places = torch.unique(scores.double(), return_inverse=True)

    def rejected(chosen: Tensor) -> Tensor:
        counts = torch.bincount(places[chosen], minlength=thresholds.numel())
        return torch.cat([counts.new_zeros(1), counts.cumsum(0)]).double()

    p_false_alarm = (n_negative - rejected(~targets)) / n_negative
    return rejected(targets) / n_positive, p_false_alarm, torch.cat([thresholds, thresholds.new_tensor([torch.inf])])
