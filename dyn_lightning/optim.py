"""Optimisers for dynamic networks: λ in a group of its own, and parameters out of use left as they are."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dyn_lightning.checks import at_least
from dyn_lightning.errors import SettingError
from dyn_lightning.layers.base import used_positions
from dyn_lightning.network.dynamic import learned_tensors
from dyn_lightning.widths.width import Width, held

Schedule = Literal["cosine", "constant"]
Block = tuple[slice, ...]
MOST_BLOCKS = 16
"""Slices of a parameter beyond which a mask is faster."""
OptimizerCallable = Callable[[Iterable[Any]], Optimizer]


def parameter_groups(network: nn.Module, *, lr: float, weight_decay: float, lr_lam: float) -> list[dict[str, Any]]:
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
    groups: list[dict[str, Any]] = [{"params": weights, "lr": lr, "weight_decay": weight_decay, "name": "weights"}]
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


def _package(x: Any) -> str:
    return str(getattr(x, "__module__", "")).partition(".")[0]


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


def protect_unused(optimizer: Optimizer, network: nn.Module) -> None:
    """Keep an optimiser from changing elements of parameters that the current widths leave out.

    They have a gradient of zero, yet weight decay and the momentum of earlier steps would still move them.
    Where a parameter is in use as a whole, nothing is done.
    """
    learned = [(x, dims) for x, dims in learned_tensors(network) if isinstance(x, nn.Parameter)]
    parts: dict[tuple[int, tuple[int, ...]], list[Block] | Tensor] = {}
    before: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def remember(_optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        before.clear()
        now = {width: width.current for width in network.modules() if isinstance(width, Width)}
        if all(size == width.full_size for width, size in now.items()):
            return
        for number, (parameter, dims) in enumerate(learned):
            if not parameter.requires_grad:
                continue
            key = (number, tuple(now[width] for d in dims if d is not None for width in d.widths))
            if key not in parts:
                used = used_positions(parameter.shape, dims)
                if len(parts) > 1000:
                    parts.clear()
                blocks = [] if used is None else unused_blocks(used, parameter.shape)
                scattered = used is not None and len(blocks) > MOST_BLOCKS
                parts[key] = unused_mask(used, parameter) if scattered else blocks  # type: ignore[arg-type]
            unused = parts[key]
            if isinstance(unused, Tensor):
                before.append((parameter.data, parameter.detach().clone(), unused))
            else:
                before.extend((part, part.clone(), None) for part in (parameter.data[b] for b in unused))

    def restore(_optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        for part, old, mask in before:
            part.copy_(old if mask is None else torch.where(mask, old, part))
        before.clear()

    optimizer.register_step_pre_hook(remember)
    optimizer.register_step_post_hook(restore)


def unused_blocks(used: Sequence[Tensor], shape: Sequence[int]) -> list[Block]:
    """Slices that together cover, without overlap, the elements of a tensor that are not in use.

    Args:
        used: for each dimension the positions in use, ascending; an element is in use where all of its are.
        shape: of the tensor.
    """
    blocks: list[Block] = []
    inside: list[Block] = [()]
    for index, size in zip(used, shape, strict=True):
        breaks = (index.diff() != 1).nonzero().flatten() + 1
        starts = index[torch.cat([breaks.new_zeros(1), breaks])].tolist()
        stops = [*(index[breaks - 1] + 1).tolist(), int(index[-1]) + 1]
        gaps = zip([0, *stops], [*starts, size], strict=True)
        outside = [slice(a, b) for a, b in gaps if a < b]
        blocks += [(*done, gap) for done in inside for gap in outside]
        inside = [(*done, slice(a, b)) for done in inside for a, b in zip(starts, stops, strict=True)]
    return blocks


def unused_mask(used: Sequence[Tensor], like: Tensor) -> Tensor:
    """True at the elements of a tensor that are not in use; ``used`` as in :func:`unused_blocks`."""
    unused = torch.ones(like.shape, dtype=torch.bool)
    unused[torch.meshgrid(*used, indexing="ij")] = False
    return unused.to(like.device)


def narrowing(widths: Sequence[Width], n_whole: int = 0) -> float:
    """How many times narrower a network is than at full size: geometric mean of full over kept sizes; 1 without any.

    Args:
        widths: the sizes that are learned.
        n_whole: how many more sizes there are, which stay as they are.
    """
    with held(widths):  # one transfer from a GPU, not one for each width
        logs = [math.log(width.full_size / width.current) for width in widths]
    return math.exp(sum(logs) / (len(logs) + n_whole)) if logs else 1.0


def make_schedule(
    optimizer: Optimizer,
    schedule: Schedule,
    total_steps: int | Callable[[], int | None] | None,
    hold: float = 0.0,
    widths: Sequence[Width] = (),
    n_whole: int = 0,
    growth: float = 0.0,
) -> LambdaLR:
    """Learning rate over the steps of a run: of the weights by ``schedule``, of λ constant.

    Args:
        optimizer: its first group holds the weights.
        schedule: "cosine" (half a cosine down to 0 at ``total_steps``) or "constant".
        total_steps: optimiser steps in the run, or a function that tells them; None: not known yet, and the rate is as
            at the start.
        hold: share of the run before the cosine begins.
        widths: by whose sizes the rate of the weights grows.
        n_whole: how many sizes could be learned beside these, and are not: where one layer alone narrows, the others
            still want the rate of their full size.
        growth: exponent of :func:`narrowing`, by which the rate of the weights is multiplied. With Adam the best rate
            is inversely proportional to the width (arXiv 2203.03466, table 3), which is 1; with 0 it does not grow.

    Raises:
        ValueError: for an unknown schedule, or ``hold`` outside [0, 1).
    """
    check_schedule(schedule, hold, growth)

    def cosine(step: int) -> float:
        total = total_steps() if callable(total_steps) else total_steps
        if total is None:
            return 1.0
        start = round(hold * total)
        done = (min(step, total) - start) / max(1, total - start)
        return 0.5 * (1.0 + math.cos(math.pi * max(0.0, done)))

    def constant(_step: int) -> float:
        return 1.0

    shape: Callable[[int], float] = cosine if schedule == "cosine" else constant

    def weights(step: int) -> float:
        return shape(step) * (narrowing(widths, n_whole) ** growth if growth else 1.0)

    return LambdaLR(optimizer, [weights] + [constant] * (len(optimizer.param_groups) - 1))


def check_schedule(schedule: str, hold: float, growth: float) -> None:
    """Raises SettingError for settings of :func:`make_schedule` that cannot be."""
    if schedule not in ("cosine", "constant"):
        raise SettingError(f"lr_schedule={schedule!r} is unknown: use cosine or constant")
    if not 0.0 <= hold < 1.0:
        raise SettingError(f"lr_hold={hold} must lie in [0, 1)")
    at_least(0.0, lr_growth=growth)


def set_rates(optimizer: Optimizer, schedule: LambdaLR, **settings: tuple[float, float]) -> None:
    """Set what a checkpoint has set back: of the weights (lr, weight_decay) and of λ (lr_lam).

    Args:
        optimizer: made by :func:`make_optimizer`, with a checkpoint's state.
        schedule: made by :func:`make_schedule`, likewise.
        settings: name → (in the checkpoint's run, now); what is equal is left alone.
    """
    places = {"lr": (0, "lr"), "weight_decay": (0, "weight_decay"), "lr_lam": (1, "lr")}
    for name, (before, now) in settings.items():
        index, key = places[name]
        if before == now or index >= len(optimizer.param_groups):
            continue
        group = optimizer.param_groups[index]
        if key == "weight_decay":
            group[key] = now
            continue
        schedule.base_lrs[index] = group["initial_lr"] = now
        group["lr"] = now * schedule.lr_lambdas[index](schedule.last_epoch)


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
