"""Equal error rate from ranks alone: the same for any batching and any monotone map of the scores."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

EERConvention = Literal["roc", "asvspoof2019"]
SNR_EDGES_DB = (5.0, 15.0, 25.0)


def eer(scores: Tensor, targets: Tensor, *, convention: EERConvention = "roc") -> tuple[float, float]:
    """Equal error rate and its threshold: decide positive where score >= threshold.

    The EER is the rate at which the misses (positives below the threshold) equal the false alarms (negatives
    at or above it). A finite set has no such threshold in general, and there are two conventions:

    - ``"roc"``: the point where the ROC, straight between neighbouring thresholds, crosses misses = false
      alarms. Equal scores are one step, half a chance each. The threshold is the score nearest to the
      crossing.
    - ``"asvspoof2019"``: the challenge's own scoring. Mean of both rates at the score where they are nearest
      to each other, and equal scores go against the system. Published anti-spoofing figures are of this kind;
      on few or on tied scores it differs from the other. The threshold is the challenge's: positive where
      score > threshold.

    Args:
        scores: any shape, higher means positive.
        targets: same shape, 1 = positive, 0 = negative, below 0 = ignored.
        convention: how a finite set is read.

    Returns:
        (EER in [0, 1], threshold); both NaN if either class is absent.

    Raises:
        ValueError: for different shapes, NaN scores, targets above 0 other than 1, or another convention.

    >>> eer(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1]))
    (0.5, 0.4000000059604645)
    """
    scores, targets = scored_entries(scores, targets)
    if convention not in get_args(EERConvention):
        raise ValueError(f"convention must be one of {get_args(EERConvention)}, got {convention!r}")
    n_positive = int(targets.sum())
    if n_positive in (0, targets.numel()):
        return math.nan, math.nan
    return _roc_eer(scores, targets) if convention == "roc" else _asvspoof2019_eer(scores, targets)


def _roc_eer(scores: Tensor, targets: Tensor) -> tuple[float, float]:
    sorted_scores, order = torch.sort(scores, descending=True)
    true_accepts = targets[order].to(torch.int64).cumsum(0)
    accepts = torch.arange(1, scores.numel() + 1, device=scores.device)
    last_of_ties = torch.ones_like(sorted_scores, dtype=torch.bool)
    last_of_ties[:-1] = sorted_scores[1:] != sorted_scores[:-1]
    true_accepts, accepts = true_accepts[last_of_ties], accepts[last_of_ties]
    thresholds = sorted_scores[last_of_ties]
    n_positive = int(true_accepts[-1])
    n_negative = scores.numel() - n_positive
    # (misses - false alarms)·n_positive·n_negative: falls as the threshold does, and whole numbers keep it
    # exact
    excess = (n_positive - true_accepts) * n_negative - (accepts - true_accepts) * n_positive
    after = int((excess > 0).sum())
    excess_after, hits_after = int(excess[after]), int(true_accepts[after])
    # before the first threshold nothing is accepted: all misses, no false alarm
    excess_before = n_positive * n_negative if after == 0 else int(excess[after - 1])
    hits_before = 0 if after == 0 else int(true_accepts[after - 1])
    share = excess_before / (excess_before - excess_after)
    hits = hits_before + share * (hits_after - hits_before)
    nearest = after - 1 if after > 0 and excess_before < -excess_after else after
    return 1.0 - hits / n_positive, float(thresholds[nearest])


def _asvspoof2019_eer(scores: Tensor, targets: Tensor) -> tuple[float, float]:
    values, labels = scores.cpu().double().numpy(), targets.cpu().numpy().astype(np.int64)
    order = np.lexsort((-labels, values))  # ascending, positives first among equals
    values, labels = values[order], labels[order]
    rejected_positives = np.concatenate([[0], labels.cumsum()])
    rejected_negatives = np.arange(len(labels) + 1) - rejected_positives
    miss_rate = rejected_positives / rejected_positives[-1]
    n_negative = rejected_negatives[-1]
    false_alarm_rate = (n_negative - rejected_negatives) / n_negative
    nearest = int(np.abs(miss_rate - false_alarm_rate).argmin())
    threshold = values[nearest - 1] if nearest > 0 else values[0] - 1e-3
    return float(miss_rate[nearest] + false_alarm_rate[nearest]) / 2, float(threshold)


def scored_entries(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The entries that count, flat: scores in their own floating type, targets as booleans.

    Raises:
        ValueError: for different shapes, NaN scores, or targets above 0 other than 1.
    """
    if scores.shape != targets.shape:
        raise ValueError(f"scores {tuple(scores.shape)} and targets {tuple(targets.shape)} differ in shape")
    kept = targets >= 0
    scores, targets = scores.detach()[kept], targets[kept]
    if scores.isnan().any():
        raise ValueError("scores contain NaN")
    if ((targets != 0) & (targets != 1)).any():
        raise ValueError("targets must be 1 (positive), 0 (negative) or below 0 (ignored)")
    return scores, targets.bool()


def eer_by_group(
    scores: Tensor, targets: Tensor, values: Tensor, edges: Sequence[float] = SNR_EDGES_DB
) -> dict[str, float]:
    """EER of each bin of ``values``, each bin with a threshold of its own.

    The default bins are those of the published table by SNR: <5, 5–15, 15–25 and >=25 dB, where a bin holds
    its lower edge. An infinite SNR (no noise) is in the last.

    Args:
        scores: (batch, …), higher means positive.
        targets: same shape, 1 = positive, 0 = negative, below 0 = ignored.
        values: one per entry of ``scores`` or, with fewer dimensions, one per leading index, e.g. (batch,).
        edges: ascending edges of the bins.

    Returns:
        Label → EER in [0, 1], lowest bin first; NaN where a bin lacks either class.

    Raises:
        ValueError: as ``eer``; for NaN in ``values``.
    """
    bins = _bins(values, scores, edges)
    return {label: eer(scores[bins == i], targets[bins == i])[0] for i, label in enumerate(group_labels(edges))}


def group_labels(edges: Sequence[float] = SNR_EDGES_DB) -> list[str]:
    """Names of the bins between ``edges``.

    >>> group_labels()
    ['<5', '5-15', '15-25', '>=25']
    """
    inner = [f"{low:g}-{high:g}" for low, high in itertools.pairwise(edges)]
    return [f"<{edges[0]:g}", *inner, f">={edges[-1]:g}"]


def _bins(values: Tensor, scores: Tensor, edges: Sequence[float]) -> Tensor:
    """Bin index of each score, in the shape of ``scores``."""
    if values.isnan().any():
        raise ValueError("values to group by contain NaN")
    boundaries = torch.tensor(edges, device=values.device, dtype=torch.float32)
    bins = torch.bucketize(values.float(), boundaries, right=True)
    return bins.reshape(bins.shape + (1,) * (scores.ndim - bins.ndim)).expand(scores.shape)


class EER(Metric):
    """``eer`` over all batches and processes.

    ``update`` takes scores and targets of one shape; ``compute`` gives the EER and leaves its ``threshold``.
    It keeps five bytes per entry until then.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    scores: list[Tensor]
    targets: list[Tensor]

    def __init__(self, convention: EERConvention = "roc", **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.convention = convention
        self.threshold = math.nan
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("targets", default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, targets: Tensor) -> None:
        scores, targets = scored_entries(scores, targets)
        self.scores.append(scores.float())
        self.targets.append(targets.to(torch.int8))

    def compute(self) -> Tensor:
        scores = dim_zero_cat(self.scores)
        rate, self.threshold = eer(scores, dim_zero_cat(self.targets), convention=self.convention)
        return torch.tensor(rate, device=scores.device)


class EERBySNR(Metric):
    """``eer_by_group`` over all batches and processes, by signal-to-noise ratio in dB.

    ``update`` takes scores, targets, and the SNR of each entry or of each leading index; ``compute`` gives a
    dict from the bin's label to its EER. It keeps six bytes per entry until then.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    scores: list[Tensor]
    targets: list[Tensor]
    bins: list[Tensor]

    def __init__(self, edges: Sequence[float] = SNR_EDGES_DB, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.edges = tuple(edges)
        for name in ("scores", "targets", "bins"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, targets: Tensor, snr_db: Tensor) -> None:
        bins = _bins(snr_db.to(scores.device), scores, self.edges)[targets >= 0]
        scores, targets = scored_entries(scores, targets)
        self.scores.append(scores.float())
        self.targets.append(targets.to(torch.int8))
        self.bins.append(bins.to(torch.int8))

    def compute(self) -> dict[str, Tensor]:
        scores, targets, bins = (dim_zero_cat(state) for state in (self.scores, self.targets, self.bins))
        return {
            label: torch.tensor(eer(scores[bins == i], targets[bins == i])[0], device=scores.device)
            for i, label in enumerate(group_labels(self.edges))
        }
