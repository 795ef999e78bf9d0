"""How far a network's outputs are from its teacher's: the losses, the choice among them, and their curvature.

B batch, C classes or features (the last dimension), n elements of one item.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from dyn_lightning.errors import SettingError, UserError

OutputLoss = Literal["kl", "bce", "kl_probabilities", "bce_probabilities", "cosine", "l1"]
"""What an output is: logits of classes along the last dimension, logits of one class each, probabilities of both
kinds, vectors whose direction counts, or a signal."""
TOLD: dict[str, str] = {
    "kl": "Kullback-Leibler divergence of logits",
    "bce": "Kullback-Leibler divergence of one logit for each decision",
    "kl_probabilities": "Kullback-Leibler divergence of probabilities",
    "bce_probabilities": "Kullback-Leibler divergence of one probability for each decision",
    "cosine": "one minus the cosine",
    "l1": "mean absolute error over the teacher's mean absolute value",
}
_LEAST = 1e-6  # probabilities below it count as it
_ENOUGH = 32  # values that do not all lie in [0, 1] by chance


def named_outputs(outputs: Any, name: str = "") -> list[tuple[str, Tensor]]:
    """Every real-valued tensor of nested outputs with its path, such as ``layers.0``; "output" for one alone."""
    found: list[tuple[str, Tensor]] = []
    parts: list[tuple[object, object]]
    if isinstance(outputs, Tensor):
        return [(name or "output", outputs)] if outputs.is_floating_point() else []
    if isinstance(outputs, Mapping):
        parts = list(outputs.items())
    elif is_dataclass(outputs) and not isinstance(outputs, type):
        parts = [(field.name, getattr(outputs, field.name)) for field in fields(outputs)]
    elif isinstance(outputs, (tuple, list)):
        parts = list(enumerate(outputs))
    else:
        return []
    for key, part in parts:
        found += named_outputs(part, f"{name}.{key}" if name else str(key))
    return found


def choose(name: str, teacher: Tensor) -> OutputLoss:
    """The loss that suits an output, by its name and by what a teacher's values are.

    Probabilities and vectors of length one show themselves. Logits and embeddings do not: a name that holds "logit"
    or "embed" tells. What is left is compared as a signal, which suits anything, if not as well.

    Args:
        name: path of the output among the network's, or what its task calls it.
        teacher: (B, …).
    """
    x, name = teacher.detach().float(), name.lower()
    several = x.dim() > 1 and x.shape[-1] > 1
    if "logit" in name:
        return "kl" if several else "bce"
    if bool((x >= 0).all()) and bool((x <= 1).all()) and not bool(((x == 0) | (x == 1)).all()):
        if several and bool(((x.sum(-1) - 1).abs() < 1e-3).all()):
            return "kl_probabilities"
        if x.numel() >= _ENOUGH:
            return "bce_probabilities"
    if several and bool(((x.square().sum(-1) - 1).abs() < 1e-3).all()):
        return "cosine"
    if several and bool((x <= 0).all()) and bool(((x.exp().sum(-1) - 1).abs() < 1e-3).all()):
        return "kl"  # log probabilities are logits of themselves
    return "cosine" if "embed" in name and several else "l1"


def check_loss(loss: str) -> OutputLoss:
    """Raises SettingError for a name that is none of ``OutputLoss``."""
    if loss not in get_args(OutputLoss):
        raise SettingError(f"outputs={loss!r} is unknown: use one of {', '.join(get_args(OutputLoss))}")
    return loss  # type: ignore[return-value]


def distance(loss: OutputLoss, output: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """How far an output is from the teacher's, zero where they agree: the mean over everything but classes, 0-d.

    Args:
        loss: which one.
        output, teacher: (B, …) of one shape.
        temperature: T by which logits are divided; the divergence is multiplied by T² (arXiv 1503.02531).

    Raises:
        UserError: where the shapes differ.
    """
    if output.shape != teacher.shape:
        raise UserError(
            f"the network's output is {tuple(output.shape)}, its teacher's {tuple(teacher.shape)}: a teacher's outputs "
            "must be those of the network at full size"
        )
    output, teacher = output.float(), teacher.float()
    if loss in ("kl", "kl_probabilities"):
        t = temperature if loss == "kl" else 1.0
        log_p, log_q = (_log_classes(loss, x, t) for x in (output, teacher))
        return t * t * (log_q.exp() * (log_q - log_p)).sum(-1).mean()
    if loss in ("bce", "bce_probabilities"):
        t = temperature if loss == "bce" else 1.0
        p, q = (_logit(loss, x) / t for x in (output, teacher))
        each = F.binary_cross_entropy_with_logits(p, q.sigmoid(), reduction="none")
        return t * t * (each - F.binary_cross_entropy_with_logits(q, q.sigmoid(), reduction="none")).mean()
    if loss == "cosine":
        return (1.0 - F.cosine_similarity(output, teacher, dim=-1)).mean()
    return (output - teacher).abs().mean() / teacher.abs().mean().clamp_min(_LEAST)


def root_of_curvature(loss: OutputLoss, teacher: Tensor, noise: Tensor, temperature: float = 1.0) -> Tensor:
    """S v: noise times a square root of the Hessian of each item's own loss, taken where output and teacher agree.

    With v of unit covariance, S v has the Hessian as its covariance: ``diag(p) − p pᵀ`` of logits with the softmax p,
    p (1 − p) of decisions (both the Fisher information, which labels drawn from p would give as well, at more noise),
    ``(I − u uᵀ) / |y|²`` of a cosine with the direction u. An absolute error has none: that of the squared error stands
    in for it, ``2 (y − t)² / mean t²``.

    Args:
        loss: which one.
        teacher: (B, …), where the Hessian is taken.
        noise: v, as the teacher.
        temperature: of logits.

    Returns:
        As the teacher; each item's loss is the mean over its decisions, vectors or elements.
    """
    y, v = teacher.detach().float(), noise.float()
    decisions = max(1, y.numel() // max(1, y.shape[0] if y.dim() else 1))
    if loss in ("kl", "kl_probabilities"):
        log_p = _log_classes(loss, y, temperature if loss == "kl" else 1.0)
        root = (log_p / 2).exp()
        spread = root * v - log_p.exp() * (root * v).sum(-1, keepdim=True)
        if loss == "kl_probabilities":  # the Hessian by p itself is diag(1 / p)
            spread = v / root.clamp_min(_LEAST**0.5)
        return spread / (decisions / y.shape[-1]) ** 0.5
    if loss == "bce":
        p = (y / temperature).sigmoid()
        return v * (p * (1 - p) / decisions).sqrt()
    if loss == "bce_probabilities":
        p = y.clamp(_LEAST, 1 - _LEAST)
        return v / (p * (1 - p) * decisions).sqrt()
    if loss == "cosine":
        length = y.norm(dim=-1, keepdim=True).clamp_min(_LEAST)
        u = y / length
        return (v - u * (u * v).sum(-1, keepdim=True)) / length / (decisions / y.shape[-1]) ** 0.5
    return v * (2.0 / (decisions * y.square().mean().clamp_min(_LEAST**2))) ** 0.5


def _log_classes(loss: str, x: Tensor, temperature: float) -> Tensor:
    return x.clamp_min(_LEAST).log() if loss == "kl_probabilities" else (x / temperature).log_softmax(-1)


def _logit(loss: str, x: Tensor) -> Tensor:
    return x.clamp(_LEAST, 1 - _LEAST).logit() if loss == "bce_probabilities" else x


def random_signs(like: Tensor) -> Tensor:
    """Signs at random, of unit covariance."""
    return torch.randint(0, 2, like.shape, device=like.device).to(torch.float32) * 2 - 1
