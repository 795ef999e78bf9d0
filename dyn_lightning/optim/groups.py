"""An optimiser for a dynamic network: λ in a group of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from dyn_lightning.checks import at_least
from dyn_lightning.errors import SettingError
from dyn_lightning.optim.unused import protect_unused
from dyn_lightning.widths.width import Width

OptimizerCallable = Callable[[Iterable[Any]], Optimizer]


def parameter_groups(network: nn.Module, *, lr: float, weight_decay: float, lr_lam: float) -> list[dict[str, object]]:
    """Weights in the first group, every λ (its log θ) in the second, without weight decay.

    Args:
        network: a network, dynamic or not; without widths there is one group.
        lr: learning rate of the weights.
        weight_decay: of the weights.
        lr_lam: learning rate of θ = log λ: about the relative change of a width per step.

    Raises:
        SettingError: for one of the three that is negative or no number.
    """
    at_least(0.0, lr=lr, weight_decay=weight_decay, lr_lam=lr_lam)
    thetas = width_parameters(network)
    known = {id(p) for p in thetas}
    weights = [p for p in network.parameters() if p.requires_grad and id(p) not in known]
    groups: list[dict[str, object]] = [{"params": weights, "lr": lr, "weight_decay": weight_decay, "name": "weights"}]
    if thetas:
        groups.append({"params": thetas, "lr": lr_lam, "weight_decay": 0.0, "name": "lam"})
    return groups


def width_parameters(network: nn.Module) -> list[nn.Parameter]:
    """θ of every Width of a network, each once."""
    return [m.theta for m in network.modules() if isinstance(m, Width)]


def portable(optimizer: OptimizerCallable) -> OptimizerCallable:
    """The same function of the parameters, without the command line that the parser has put into it.

    jsonargparse gives a partial of an object of its own, which holds the whole command line, with the trainer and the
    data: neither to be pickled nor to be copied with a module.
    """
    if not isinstance(optimizer, functools.partial):
        return optimizer
    made: list[Any] = [optimizer.func, *optimizer.args]
    while made and "jsonargparse" in {_package(made[0]), _package(type(made[0]))}:
        del made[0]
    return functools.partial(made[0], *made[1:], **optimizer.keywords)


def _package(x: Any) -> str:
    return str(getattr(x, "__module__", "")).partition(".")[0]


def check_eps(optimizer: Optimizer) -> None:
    """Raise SettingError where eps is zero in the precision of the weights, so that Adam would divide by zero."""
    for group in optimizer.param_groups:
        half = any(p.dtype == torch.float16 for p in group["params"])
        eps = group.get("eps")
        if half and eps and float(torch.tensor(eps, dtype=torch.float16)) == 0.0:
            raise SettingError(
                f"precision 16-true: the optimiser's eps={eps} is zero in float16, and weights become NaN. Give it "
                "eps=1e-4 (--model.optimizer.eps 1e-4), or use precision 16-mixed or bf16-true"
            )


def make_optimizer(
    network: nn.Module, optimizer: OptimizerCallable, *, lr: float, weight_decay: float, lr_lam: float
) -> Optimizer:
    """An optimiser that leaves parameters out of use alone (see :func:`protect_unused`).

    Args:
        network: whose parameters are optimised, in the groups of :func:`parameter_groups`.
        optimizer: an optimiser class, or a function of the parameter groups.
        lr, weight_decay, lr_lam: see :func:`parameter_groups`.

    Raises:
        SettingError: for an optimiser that takes no groups, or another setting than these.
    """
    groups = parameter_groups(network, lr=lr, weight_decay=weight_decay, lr_lam=lr_lam)
    try:
        made = optimizer(groups)
    except ValueError as error:
        name = getattr(optimizer, "__name__", str(optimizer))
        raise SettingError(f"optimizer: {name} does not take the groups of weights and of λ ({error})") from error
    check_eps(made)
    protect_unused(made, network)
    return made
