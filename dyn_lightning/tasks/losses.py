"""Losses without parameters of their own: on cosines, which push classes apart by a margin, and on a teacher's logits.

B batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def am_softmax_loss(
    cosines: Tensor, target: Tensor, *, scale: float = 20.0, margin: float = 0.9, weight: Tensor | None = None
) -> Tensor:
    """Additive-margin softmax: cross-entropy of scaled cosines, after the margin is taken off the true class's.

    Wang et al. 2018, arXiv 1801.05599: with cos_k the cosine between embedding and the direction of
    class k, and y the true class,

        −log( e^(s (cos_y − m)) / (e^(s (cos_y − m)) + Σ_{k≠y} e^(s cos_k)) ).

    The defaults are a choice: scale and upper margin of :func:`oc_softmax_loss`.

    Args:
        cosines: (B, classes) in [-1, 1].
        target: (B,) int64, the true classes.
        scale: s.
        margin: m.
        weight: (classes,), weights of the classes; the mean is weighted by them.

    Returns:
        0-d.
    """
    margins = margin * F.one_hot(target, cosines.shape[1]).to(cosines.dtype)
    return F.cross_entropy(scale * (cosines - margins), target, weight=weight)


def oc_softmax_loss(
    cosines: Tensor,
    target: Tensor,
    *,
    scale: float = 20.0,
    bonafide_margin: float = 0.9,
    spoof_margin: float = 0.2,
    weight: Tensor | None = None,
) -> Tensor:
    """One-class softmax: bona fide speech near one direction, everything else away from it.

    Zhang et al. 2021, arXiv 2010.13995, whose scale and margins are the defaults; here 1 is bona fide. The mean of

        log(1 + e^(α (m_1 − cos)))  where the target is 1,  log(1 + e^(α (cos − m_0)))  where it is 0.

    Args:
        cosines: (B,) in [-1, 1], with the direction of bona fide speech.
        target: (B,), 1 = bona fide, 0 = spoof.
        scale: α.
        bonafide_margin: m_1, cosine that bona fide speech should exceed.
        spoof_margin: m_0, cosine that spoofed speech should stay below.
        weight: (2,), weights of spoof and bona fide; the mean is weighted by them.

    Returns:
        0-d.
    """
    bonafide = target == 1
    losses = F.softplus(scale * torch.where(bonafide, bonafide_margin - cosines, cosines - spoof_margin))
    if weight is None:
        return losses.mean()
    weights = weight[bonafide.long()]
    return (weights * losses).sum() / weights.sum()


def soft_cross_entropy(logits: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """T² times the Kullback-Leibler divergence of a network's classes from its teacher's, both at temperature T.

    Hinton et al. 2015, arXiv 1503.02531, section 2; T² keeps the gradient's size. Zero where both agree.

    Args:
        logits, teacher: (B, classes).
        temperature: T.

    Returns:
        Mean over the batch, 0-d.
    """
    log_p, log_q = (logits / temperature).log_softmax(-1), (teacher / temperature).log_softmax(-1)
    return temperature**2 * F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def soft_binary_cross_entropy(logits: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """:func:`soft_cross_entropy` of two classes given by one logit each, (…) of any shape: mean over all of them."""
    two, two_of_teacher = (F.pad(x.reshape(-1, 1), (0, 1)) for x in (logits, teacher))
    return soft_cross_entropy(two, two_of_teacher, temperature)
