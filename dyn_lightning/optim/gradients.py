"""Gradients of weights and of λ: clipped apart, and forgotten."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.optim import Optimizer


def clip_gradients(
    optimizer: Optimizer, limit: float | None, max_norm_lam: float | None, algorithm: str | None = None
) -> None:
    """Clip the gradients of each group by itself, so that neither weights nor λ damp the other's step.

    Args:
        optimizer: its group "lam" holds every λ.
        limit: of the weights; None or 0 for none.
        max_norm_lam: largest gradient norm of all λ together; None or 0 for none.
        algorithm: of the weights: "norm", which is None too, or "value", by which each element is cut to ±limit.
    """
    for group in optimizer.param_groups:
        if group.get("name") == "lam":
            if max_norm_lam:
                nn.utils.clip_grad_norm_(group["params"], max_norm_lam)
        elif limit:
            clip = nn.utils.clip_grad_value_ if algorithm == "value" else nn.utils.clip_grad_norm_
            clip(group["params"], limit)


def forget(optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> None:
    """Drop gradients and momentum of parameters, so that what they had learned cannot move them on."""
    for parameter in parameters:
        parameter.grad = None
        optimizer.state.pop(parameter, None)
