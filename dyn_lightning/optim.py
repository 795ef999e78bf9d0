"""Optimisers for dynamic networks: λ in a group of its own, and parameters out of use left as they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dyn_lightning.layers.base import DynamicLayer, used_mask
from dyn_lightning.width import Width

Schedule = Literal["cosine", "constant"]
OptimizerCallable = Callable[[Iterable[Any]], Optimizer]


def parameter_groups(
    network: nn.Module, *, lr: float, weight_decay: float, lr_lam: float
) -> list[dict[str, Any]]:
    """Weights in the first group, every λ (its log θ) in the second, without weight decay.

    Args:
        network: a network, dynamic or not; without widths there is one group.
        lr: learning rate of the weights.
        weight_decay: of the weights.
        lr_lam: learning rate of θ = log λ: about the relative change of a width per step.
    """
    thetas = width_parameters(network)
    known = {id(p) for p in thetas}
    weights = [p for p in network.parameters() if p.requires_grad and id(p) not in known]
    groups: list[dict[str, Any]] = [
        {"params": weights, "lr": lr, "weight_decay": weight_decay, "name": "weights"}
    ]
    if thetas:
        groups.append({"params": thetas, "lr": lr_lam, "weight_decay": 0.0, "name": "lam"})
    return groups


def width_parameters(network: nn.Module) -> list[nn.Parameter]:
    """θ of every Width of a network, each once."""
    return [m.theta for m in network.modules() if isinstance(m, Width)]


def make_optimizer(
    network: nn.Module, optimizer: OptimizerCallable, *, lr: float, weight_decay: float, lr_lam: float
) -> Optimizer:
    """An optimiser that leaves parameters out of use alone (see :func:`protect_unused`).

    Args:
        network: whose parameters are optimised, in the groups of :func:`parameter_groups`.
        optimizer: an optimiser class, or a function of the parameter groups.
        lr, weight_decay, lr_lam: see :func:`parameter_groups`.
    """
    made = optimizer(parameter_groups(network, lr=lr, weight_decay=weight_decay, lr_lam=lr_lam))
    protect_unused(made, network)
    return made


def protect_unused(optimizer: Optimizer, network: nn.Module) -> None:
    """Keep an optimiser from changing elements that the current widths leave out.

    They have a gradient of zero, yet weight decay and the momentum of earlier steps would still move them.
    Where a parameter is in use as a whole, nothing is done.
    """
    layers = [m for m in network.modules() if isinstance(m, DynamicLayer)]
    before: list[tuple[nn.Parameter, Tensor, list[Tensor]]] = []

    def remember(_optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        before.clear()
        for layer in layers:
            if all(w.current == w.full_size for w in layer.widths()):
                continue
            for name, parameter in layer._parameters.items():
                if parameter is None or not parameter.requires_grad:
                    continue
                used = used_mask(layer, name, device=parameter.device)
                if used is not None:
                    before.append((parameter, parameter.detach().clone(), used))

    def restore(_optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        with torch.no_grad():
            for parameter, old, used in before:
                block = torch.meshgrid(*used, indexing="ij") if len(used) > 1 else (used[0],)
                old[block] = parameter[block]
                parameter.copy_(old)
        before.clear()

    optimizer.register_step_pre_hook(remember)
    optimizer.register_step_post_hook(restore)


def make_schedule(optimizer: Optimizer, schedule: Schedule, total_steps: int) -> LambdaLR:
    """Learning rate over the steps of a run: of the weights by ``schedule``, of λ constant.

    Args:
        optimizer: its first group holds the weights.
        schedule: "cosine" (half a cosine down to 0 at ``total_steps``) or "constant".
        total_steps: optimiser steps in the run.

    Raises:
        ValueError: for an unknown schedule.
    """
    if schedule not in ("cosine", "constant"):
        raise ValueError(f"lr_schedule={schedule!r} is unknown: use cosine or constant")

    def cosine(step: int) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * min(step, total_steps) / max(1, total_steps)))

    def constant(_step: int) -> float:
        return 1.0

    weights: Callable[[int], float] = cosine if schedule == "cosine" else constant
    return LambdaLR(optimizer, [weights] + [constant] * (len(optimizer.param_groups) - 1))


def clip_gradients(optimizer: Optimizer, max_norm: float | None, max_norm_lam: float | None) -> None:
    """Clip the gradient norm of each group by itself, so that neither weights nor λ damp the other's step."""
    for group in optimizer.param_groups:
        limit = max_norm_lam if group.get("name") == "lam" else max_norm
        if limit:
            nn.utils.clip_grad_norm_(group["params"], limit)


def forget(optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> None:
    """Drop gradients and momentum of parameters, so that what they had learned cannot move them on."""
    for parameter in parameters:
        parameter.grad = None
        optimizer.state.pop(parameter, None)
