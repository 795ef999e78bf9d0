"""Function-preserving reordering of the elements of Widths: only the last unit is ever given up, so which is last?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dyn_lightning.network.dynamic import DynamicNetwork, learned_tensors
from dyn_lightning.widths.width import Width


def reorderable(network: DynamicNetwork) -> dict[str, Width]:
    """The Widths whose elements may stand in any order: all but those that sample a continuum."""
    return {name: width for name, width in network.widths.items() if not width.resampled}


def importance(network: DynamicNetwork, losses: Iterable[Callable[[], Tensor]]) -> dict[str, Tensor]:
    """What each element is worth: the empirical Fisher information of a gate on it.

    A gate of one stands on every produced feature, for every sample by itself; its score is the squared derivative of
    the loss, summed over samples and over the layers that share the width. Half of it estimates what the loss rises by
    when the element goes (after Molchanov et al., arXiv 1906.10771). Gradients of the parameters are
    left as they were.

    Args:
        network: a dynamic network; elements out of use score 0.
        losses: each call runs the network on a batch and gives the mean loss.

    Returns:
        Width name → scores (full_size,).
    """
    widths = reorderable(network)
    if not widths:
        return {}
    scores = {name: torch.zeros(width.full_size, device=width.theta.device) for name, width in widths.items()}
    for loss in losses:
        for width in widths.values():
            width.probes = []
        try:
            value = loss()
            probes = [(name, probe) for name, width in widths.items() for probe in width.probes or []]
            found = torch.autograd.grad(value, [probe for _, probe in probes], allow_unused=True)
        finally:
            for width in widths.values():
                width.probes = None
        for (name, _), gradient in zip(probes, found, strict=True):
            if gradient is not None:
                # A mean over the batch has weakened each sample's derivative by the batch's size.
                scores[name][: gradient.shape[1]] += (gradient.float() * gradient.shape[0]).square().sum(0)
    return scores


@torch.no_grad()
def reorder(
    network: DynamicNetwork,
    scores: dict[str, Tensor],
    optimizer: Optimizer | None = None,
    also: nn.Module | None = None,
) -> None:
    """Put the most important units of each Width first. What the network computes at full size stays.

    Weights, buffers and an optimiser's moments move together. Units move as a whole.

    Args:
        network: a dynamic network.
        scores: Width name → importance of each element (full_size,).
        optimizer: of the network's parameters.
        also: a module outside the network with layers that follow its widths.
    """
    orders = {id(network.widths[name]): _order(network.widths[name], score) for name, score in scores.items()}
    for tensor, dims in chain(learned_tensors(network), learned_tensors(also) if also is not None else ()):
        state = optimizer.state.get(tensor, {}) if optimizer is not None else {}  # type: ignore[call-overload]
        like = [s for s in state.values() if isinstance(s, Tensor) and s.shape == tensor.shape]
        for dim, layout in enumerate(dims):
            if layout is not None and any(id(w) in orders for w in layout.widths):
                chosen = layout.positions(lambda w: orders.get(id(w), torch.arange(w.full_size)))
                index = chosen.to(tensor.device)
                for x in (tensor, *like):
                    x.copy_(x.index_select(dim, index))


def _order(width: Width, score: Tensor) -> Tensor:
    """Positions of a Width's elements, whole units by falling importance: (full_size,)."""
    units = torch.arange(width.full_size).split(width.multiple_of)
    whole = [u for u in units if len(u) == width.multiple_of]
    rest = [u for u in units if len(u) != width.multiple_of]
    worth = torch.stack([score.cpu()[u].sum() for u in whole])
    ranked = [whole[i] for i in worth.argsort(descending=True, stable=True).tolist()]
    return torch.cat(ranked + rest)
