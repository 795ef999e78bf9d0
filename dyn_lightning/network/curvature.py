"""What each element is worth to a network that is at its goal already, where every gradient is zero."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from dyn_lightning.checks import whole
from dyn_lightning.inputs import call_arguments
from dyn_lightning.network.dynamic import DynamicNetwork
from dyn_lightning.network.reorder import reorderable

UNUSED = -1.0
"""Score of an element that is out of use: below all others, so that it stays behind them."""


def importance_by_curvature(
    network: DynamicNetwork, inputs: Iterable[Any], pull: Callable[[object], Tensor], draws: int = 8
) -> dict[str, Tensor]:
    """The Gauss–Newton curvature of a loss by a gate on each element: twice what it rises by when the element goes.

    Where a network agrees with its teacher, the gradient of their distance is zero, and what is left is its Hessian
    ``Jᵀ H J``, J being the outputs' derivative by the gates and H the distance's Hessian by the outputs. Its diagonal
    is the mean of ``(Jᵀ S v)²`` over noise v, ``S Sᵀ = H``: one backward pass a draw, of one forward pass a batch. The
    gates of layers that share a size are one gate; its score is summed over items.

    Args:
        network: a dynamic network; elements out of use get the score ``UNUSED``. It runs in evaluation mode, and is
            left as it was.
        inputs: batches of the network's inputs, as :func:`graph.call_arguments` takes them.
        pull: outputs → a value whose gradient by them is ``S v / B`` for fresh noise v, B items in the batch; as
            ``tasks.Imitation.pull``.
        draws: backward passes for each batch.

    Returns:
        Width name → scores (full_size,), the sum over items.

    Raises:
        SettingError: if ``draws`` is not positive.
    """
    whole(1, draws=draws)
    widths = reorderable(network)
    scores = {name: torch.full((w.full_size,), UNUSED, device=w.theta.device) for name, w in widths.items()}
    if not widths:
        return {}
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        for batch in inputs:
            args, kwargs = call_arguments(batch)
            for width in widths.values():
                width.probes = []
            # The kernels of recurrent layers on a GPU have no backward pass in evaluation.
            with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
                output = network(*args, **kwargs)
                gates = {name: width.probes or [] for name, width in widths.items()}
                for width in widths.values():
                    width.probes = None
                for _ in range(draws):
                    _add(scores, gates, pull(output), draws)
    finally:
        for width in widths.values():
            width.probes = None
        for module, mode in modes.items():
            module.training = mode
    return scores


def _add(scores: dict[str, Tensor], gates: dict[str, list[Tensor]], value: Tensor, draws: int) -> None:
    """Add one draw's squared derivatives; gates of as many items are those of one element."""
    flat = [gate for of_width in gates.values() for gate in of_width]
    if not flat:
        return
    gradients = iter(torch.autograd.grad(value, flat, allow_unused=True, retain_graph=True))
    for name, of_width in gates.items():
        by_items: dict[int, Tensor] = {}
        for _gate in of_width:
            gradient = next(gradients)
            if gradient is not None:
                items = gradient.shape[0]
                by_items[items] = by_items.get(items, 0.0) + gradient.float() * items
        for gradient in by_items.values():
            used = scores[name][: gradient.shape[1]]
            used.clamp_(min=0.0).add_(gradient.square().sum(0) / draws)
