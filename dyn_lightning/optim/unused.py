"""Parameters out of use stay as they are, whatever the optimiser."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dyn_lightning.layers.base import used_positions
from dyn_lightning.network.dynamic import learned_tensors
from dyn_lightning.widths.width import Width

Block = tuple[slice, ...]
MOST_BLOCKS = 16
"""Slices of a parameter beyond which a mask is faster."""


def protect_unused(optimizer: Optimizer, network: nn.Module) -> None:
    """Keep an optimiser from changing elements of parameters that the current widths leave out.

    They have a gradient of zero, yet weight decay and the momentum of earlier steps would still move them.
    Where a parameter is in use as a whole, nothing is done.
    """
    learned = [(x, dims) for x, dims in learned_tensors(network) if isinstance(x, nn.Parameter)]
    parts: dict[tuple[int, tuple[int, ...]], list[Block] | Tensor] = {}
    before: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def remember(_optimizer: Optimizer, _args: object, _kwargs: object) -> None:
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

    def restore(_optimizer: Optimizer, _args: object, _kwargs: object) -> None:
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
