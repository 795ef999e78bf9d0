"""When elements go, what they did is carried over to those that stay.

N samples, F features of a size, R removed, K kept, G fixed factors of the dimension that they stand in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dyn_lightning.checks import positive
from dyn_lightning.errors import SettingError
from dyn_lightning.inputs import call_arguments
from dyn_lightning.network.consumers import Consumer, consumers
from dyn_lightning.network.dynamic import DynamicNetwork
from dyn_lightning.widths.width import Width

How = Literal["regression", "mean", "nothing"]
"""What stands in for removed features: the kept ones and a constant, their mean, or nothing."""
RIDGE = 1e-3
_LEAST = 1e-12
MOST_SAMPLES = 16384
"""Samples of a batch that one consumer's statistics are taken of, spread evenly over it."""


@dataclass
class Moments:
    """Means and products of what a consumer reads.

    Attributes:
        used: the features that were in use, among all.
        mean: (G, F of them).
        product: mean of x xᵀ over samples and fixed factors, (F, F).
        norm: a batch norm right behind the consumer, in whose mean a constant can be put; None where there is none.
    """

    used: Tensor
    mean: Tensor
    product: Tensor
    norm: _BatchNorm | None = None


@dataclass
class Statistics:
    """What :func:`gather` has found.

    Attributes:
        moments: by consumer's name.
        consumers: by name.
        skipped: what is not compensated, and why.
    """

    moments: dict[str, Moments]
    consumers: dict[str, Consumer]
    skipped: dict[str, str] = field(default_factory=dict)


@torch.no_grad()
def gather(network: DynamicNetwork, inputs: Iterable[Any]) -> Statistics:
    """Means and covariances of the features that each weight reads, at the network's sizes as they are.

    Args:
        network: dynamic; it runs in evaluation mode, and is left as it was.
        inputs: batches of the network's inputs; a few are enough where they hold many more samples than features.

    Raises:
        SettingError: where there are no inputs.
    """
    found, skipped = consumers(network)
    sums: dict[str, tuple[Tensor, Tensor, int]] = {}
    norms: dict[str, _BatchNorm | None] = {}
    answers: dict[int, tuple[list[str], Tensor]] = {}  # what consumers have answered in this pass
    columns = {one.name: _columns(one) for one in found}
    by_layer: dict[nn.Module, list[Consumer]] = {}
    for one in found:
        by_layer.setdefault(one.layer, []).append(one)

    def see(layer: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        for one in by_layer[layer]:
            _add(sums, one.name, one.read(args, kwargs, output), columns[one.name])
        if isinstance(output, Tensor):
            answers[id(output)] = ([one.name for one in by_layer[layer]], output)

    def see_norm(norm: Any, args: Any) -> None:
        for name in answers.get(id(args[0]), ([], None))[0] if args else ():
            norms[name] = norm if norm.running_mean is not None else None

    handles = [layer.register_forward_hook(see, with_kwargs=True) for layer in by_layer]
    handles += [m.register_forward_pre_hook(see_norm) for m in network.modules() if isinstance(m, _BatchNorm)]
    modes = {module: module.training for module in network.modules()}
    network.eval()
    batches = 0
    try:
        for batch in inputs:
            args, kwargs = call_arguments(batch)
            network(*args, **kwargs)
            answers.clear()
            batches += 1
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    if not batches:
        raise SettingError("there are no inputs to gather statistics on")
    moments = {}
    for one in found:
        if one.name not in sums:
            skipped[one.name] = "it was not called on these inputs"
            continue
        total, product, count = sums[one.name]
        grid, used = columns[one.name][:2]
        moments[one.name] = Moments(used, total / count, product / (count * len(grid)), norms.get(one.name))
    return Statistics(moments, {one.name: one for one in found if one.name in moments}, skipped)


def _columns(one: Consumer) -> tuple[Tensor, Tensor, Tensor]:
    """The grid (G, F), the features in use (F',), and where they stand in what is read now: (G, F')."""
    grid = one.grid()
    places = torch.full((one.layout.full_size,), -1)
    at = one.layout.indices()
    places[at] = torch.arange(len(at))
    used = (places[grid[0]] >= 0).nonzero().flatten()
    return grid, used, places[grid[:, used]]


def _add(
    sums: dict[str, tuple[Tensor, Tensor, int]], name: str, x: Tensor, columns: tuple[Tensor, Tensor, Tensor]
) -> None:
    at = columns[2].to(x.device)
    x = x.reshape(-1, x.shape[-1])
    x = x[:: max(1, len(x) * len(at) // MOST_SAMPLES)][:, at].double()  # (N, G, F)
    flat = x.flatten(0, 1)
    total, product, count = sums.get(name, (0.0, 0.0, 0))
    sums[name] = (total + x.sum(0), product + flat.T @ flat, count + len(x))


@torch.no_grad()
def compensate(
    network: DynamicNetwork,
    statistics: Statistics,
    sizes: Mapping[str, int],
    *,
    how: How = "regression",
    ridge: float = RIDGE,
) -> dict[str, str]:
    """Change the weights that read kept elements so that these stand in for the ones that go.

    Removed features are regressed on kept ones, ``x_R ≈ A x_K + c``, at what each weight W reads; then
    ``W_K += W_R A`` and the bias gains ``W_R c``. Behind a weight without a bias the constant goes into the mean of
    the batch norm that follows at once; where there is none, the regression has no constant. Where removed features
    depend linearly on kept ones, nothing is lost. The mean alone is the case A = 0.

    Args:
        network: dynamic, with the weights that the statistics were gathered with.
        statistics: see :func:`gather`.
        sizes: of the widths that are cut, by name; they are not frozen here.
        how: see ``How``.
        ridge: of the regression, as a share of the kept features' mean variance.

    Returns:
        By weight, why what went is not carried over, or not quite.

    Raises:
        SettingError: for an unknown ``how``, a ridge that is not positive, or an unknown width.
    """
    positive(ridge=ridge)
    if how not in ("regression", "mean", "nothing"):
        raise SettingError(f"how={how!r} is unknown: use regression, mean or nothing")
    if unknown := sorted(set(sizes) - set(network.widths)):
        raise SettingError(f"sizes: there is no width {', '.join(unknown)}; there are {', '.join(network.widths)}")
    by_width = {network.widths[name]: size for name, size in sizes.items()}
    told = dict(statistics.skipped)
    if how == "nothing":
        return told
    for name, one in statistics.consumers.items():
        moments = statistics.moments[name]
        kept = _kept(one, moments.used, by_width)
        if bool(kept.all()):
            continue
        if one.inexact:
            told[name] = one.inexact
        has_constant = one.bias is not None or (moments.norm is not None and one.weight == "weight")
        if not has_constant:
            told[name] = "no bias, and no batch norm right behind: without the constant"
        a, c = _regression(moments, kept, constant=has_constant, slopes=how == "regression", ridge=ridge)
        _move(one, moments, kept, a, c if has_constant else None)
    return told


def _kept(one: Consumer, used: Tensor, sizes: Mapping[Width, int]) -> Tensor:
    """Which of the features in use stay: (F',), booleans."""
    stay = torch.zeros(one.layout.full_size, dtype=torch.bool)
    stay[one.layout.positions(lambda w: torch.arange(sizes.get(w, w.full_size)))] = True
    return stay[one.grid()[0]][used]


def _regression(moments: Moments, kept: Tensor, *, constant: bool, slopes: bool, ridge: float) -> tuple[Tensor, Tensor]:
    """(A, c) of removed on kept features: (R, K) and (G, R)."""
    mean, covariance = moments.mean, moments.product
    kept = kept.to(mean.device)
    if constant:
        covariance = covariance - mean.T @ mean / len(mean)
    a = covariance.new_zeros(int((~kept).sum()), int(kept.sum()))
    if slopes:
        own = covariance[kept][:, kept]
        scale = own.diagonal().mean().clamp_min(_LEAST)  # features that are always the same
        own = own + ridge * scale * torch.eye(len(own), dtype=own.dtype, device=own.device)
        a = torch.linalg.solve(own, covariance[kept][:, ~kept]).T
    return a, mean[:, ~kept] - mean[:, kept] @ a.T


def _move(one: Consumer, moments: Moments, kept: Tensor, a: Tensor, c: Tensor | None) -> None:
    """Add to the weights of kept features, and to the bias or the norm's mean, what removed ones did."""
    weight: Tensor = one.layer._parameters[one.weight].data  # type: ignore[union-attr]
    grid = one.grid()[:, moments.used].to(weight.device)
    kept = kept.to(weight.device)
    part = weight if one.rows is None else weight[one.rows]
    removed = part.movedim(one.dim, -1)[..., grid[:, ~kept]].double()  # (…, G, R)
    view = part.movedim(one.dim, -1)
    view[..., grid[:, kept]] += (removed @ a).to(weight.dtype)
    if c is None:
        return
    gain = (removed * c).flatten(1).sum(1)
    if one.bias is not None:
        bias: Tensor = one.layer._parameters[one.bias].data  # type: ignore[union-attr]
        (bias if one.bias_rows is None else bias[one.bias_rows]).add_(gain.to(bias.dtype))
    elif moments.norm is not None:
        mean: Any = moments.norm.running_mean
        mean -= gain.to(mean.dtype)


@contextmanager
def cut(
    network: DynamicNetwork,
    sizes: Mapping[str, int],
    statistics: Statistics | None = None,
    *,
    how: How = "regression",
    ridge: float = RIDGE,
) -> Iterator[DynamicNetwork]:
    """The network with some widths frozen at these sizes and their loss compensated, for as long as the block lasts."""
    chosen: list[Width] = [network.widths[name] for name in sizes]
    before = [width._frozen_size.clone() for width in chosen]
    touched: list[tuple[Tensor, Tensor]] = []
    if statistics is not None:
        for name, one in statistics.consumers.items():
            tensors = [one.layer._parameters[n] for n in (one.weight, one.bias) if n is not None]
            norm = statistics.moments[name].norm
            tensors += [norm.running_mean] if norm is not None else []  # type: ignore[list-item]
            touched += [(x.data, x.data.clone()) for x in tensors if x is not None]
    try:
        if statistics is not None:
            compensate(network, statistics, sizes, how=how, ridge=ridge)
        for (name, size), width in zip(sizes.items(), chosen, strict=True):
            width.freeze(size)
            del name
        yield network
    finally:
        for x, old in touched:
            x.copy_(old)
        for width, frozen in zip(chosen, before, strict=True):
            width._frozen_size.copy_(frozen)
