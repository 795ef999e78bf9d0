"""Runs that leave no trace: buffers, random generators and example inputs are as they were before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from dyn_lightning.randomness import random_state, set_random_state


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """What a run changes in a network's buffers (statistics, counters, states) and in the random generators is put
    back at the end.
    """
    stores = [(m._buffers, dict(m._buffers)) for m in network.modules() if m._buffers]
    contents = copies(x for _, store in stores for x in store.values())
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)
        for store, before in stores:
            store.clear()
            store.update(before)
        put_back(contents)


def copies(tensors: Iterable[Tensor | None]) -> list[tuple[Tensor, Tensor]]:
    """Each tensor once, and a copy of what is in it."""
    found = {id(x): x for x in tensors if x is not None}
    return [(x, x.detach().clone()) for x in found.values()]


@torch.no_grad()
def put_back(contents: Iterable[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Write back what tensors had in them; answers those that had changed."""
    changed = []
    for x, before in contents:
        if x.shape != before.shape or x.dtype != before.dtype:
            x.data = before.clone()
        elif torch.equal(x, before):
            continue
        else:
            x.copy_(before)
        changed.append((x, before))
    return changed


def fresh(example: Any) -> Any:
    """An example input with copies of its tensors, for a network that writes into its input. What was one stays one."""
    made: dict[int, Tensor] = {}

    def copied(x: Tensor) -> Tensor:
        if id(x) not in made:
            made[id(x)] = x.detach().clone().requires_grad_(x.requires_grad)
        return made[id(x)]

    return pytree.tree_map_only(Tensor, copied, example)
