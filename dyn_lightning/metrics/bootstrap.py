"""Confidence intervals of figures such as the equal error rate, by resampling utterances or speakers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dyn_lightning.metrics.eer import scored_entries

Statistic = Callable[[Tensor, Tensor], float]
_Indices = NDArray[np.int64]


def bootstrap_interval(
    statistic: Statistic,
    scores: Tensor,
    targets: Tensor,
    *,
    groups: Sequence[str] | None = None,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13) of a figure of two classes' scores.

    Utterances are drawn with replacement, as many of either class as there are. With groups, whole groups are drawn
    instead, with all that is in them: utterances of one speaker are alike, so the interval by utterances is too narrow
    for what another set of speakers would give.

    Args:
        statistic: function of scores (any,) and targets (any,), e.g. ``lambda s, t: eer(s, t)[0]``. It is called with
            ascending scores.
        scores: (utterances,), higher means positive.
        targets: (utterances,), 1 = positive, 0 = negative.
        groups: each utterance's group, e.g. its speaker.
        confidence: share of the resamples in the interval, in (0, 1).
        n_resamples: how often.
        seed: of the draws: the same for the same data.

    Returns:
        (low, high).

    Raises:
        ValueError: for another number of groups, NaN scores, targets other than 0 and 1, an absent class, or a
            confidence or number of resamples that is none.
    """
    if scores.ndim != 1 or bool((targets < 0).any()):
        raise ValueError(f"scores {tuple(scores.shape)} must be (utterances,), and each have a target of 0 or 1")
    scores, labels = scored_entries(scores.cpu(), targets.cpu())
    if int(labels.sum()) in (0, labels.numel()):
        raise ValueError("an interval needs scores of both classes")
    if groups is not None and len(groups) != scores.numel():
        raise ValueError(f"{scores.numel()} utterances want one group each, there are {len(groups)}")
    if not 0.0 < confidence < 1.0 or n_resamples < 1:
        raise ValueError(f"confidence={confidence} must lie in (0, 1) and n_resamples={n_resamples} be at least 1")
    order = torch.argsort(scores)  # once, as sorting what is nearly sorted costs little
    scores, labels = scores[order], labels[order].to(torch.int8)
    rng = np.random.default_rng(seed)
    own = None if groups is None else np.asarray(groups, dtype=np.str_)[order.numpy()]
    draw = _utterances(labels.numpy(), rng) if own is None else _groups(own, labels.numpy(), rng)
    values = np.empty(n_resamples)
    for number in range(n_resamples):
        chosen = torch.from_numpy(np.sort(draw()))
        values[number] = statistic(scores[chosen], labels[chosen])
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _utterances(labels: NDArray[np.int8], rng: np.random.Generator) -> Callable[[], _Indices]:
    classes = [np.flatnonzero(labels == label) for label in (0, 1)]
    return lambda: np.concatenate([rng.choice(members, len(members)) for members in classes])


def _groups(groups: NDArray[np.str_], labels: NDArray[np.int8], rng: np.random.Generator) -> Callable[[], _Indices]:
    _, places = np.unique(groups, return_inverse=True)
    members = np.split(np.argsort(places, kind="stable"), np.cumsum(np.bincount(places))[:-1])

    def draw() -> _Indices:
        while True:  # a draw of speakers may lack a class; it would have no error rate
            chosen = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
            if 0 < labels[chosen].sum() < len(chosen):
                return chosen

    return draw
