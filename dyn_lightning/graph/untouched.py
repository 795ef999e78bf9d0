"""Runs that leave no trace: buffers, random generators and example inputs are as they were before."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakIdKeyDictionary

from dyn_lightning.randomness import random_state, set_random_state

_written = WeakIdKeyDictionary()
"""Parameters that a network's own code has been seen to write in a run, as torch.nn.Embedding does for ``max_norm``."""


@contextmanager
def weights_kept(network: nn.Module) -> Iterator[None]:
    """Parameters that runs write are put back at the end, and from then on by :func:`untouched` as well, which copies
    no others.
    """
    contents = copies(network.parameters())
    try:
        yield
    finally:
        for parameter, _ in put_back(contents):
            _written[parameter] = True


def as_written(network: nn.Module, twin: nn.Module) -> None:
    """What the code of a network has been seen to write, its twin of other tensors writes as well."""
    written = {name for name, p in network.named_parameters() if p in _written}
    for name, parameter in twin.named_parameters() if written else ():
        if name in written:
            _written[parameter] = True


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """What a run changes in a network's buffers (statistics, counters, states), in parameters that its code has been
    seen to write (:func:`weights_kept`) and in the random generators is put back at the end.
    """
    stores = [(m._buffers, dict(m._buffers)) for m in network.modules() if m._buffers]
    contents = copies(x for _, store in stores for x in store.values())
    contents += copies(p for p in network.parameters() if p in _written)
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)
        for store, before in stores:
            store.clear()
            store.update(before)
        put_back(contents)


@contextmanager
def forgetful(network: nn.Module) -> Iterator[None]:
    """What a run leaves in attributes of modules (counters, what is kept from one call to the next) is put back."""
    before = [(m, {k: _entries(v) for k, v in vars(m).items()}) for m in network.modules()]
    try:
        yield
    finally:
        for module, attributes in before:
            now = vars(module)
            for key in [k for k in now if k not in attributes]:
                del now[key]
            for key, (value, entries) in attributes.items():
                now[key] = value
                if entries is not None:
                    value.clear()
                    value.extend(entries) if isinstance(value, list) else value.update(entries)


@contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """Both :func:`untouched` and :func:`forgetful`."""
    with untouched(network), forgetful(network):
        yield


def _entries(value: Any) -> tuple[Any, Any]:
    """A value, and a copy of what is in it where it is a plain container."""
    return value, type(value)(value) if type(value) in (list, dict, set) else None


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


def seed_all(seed: int) -> None:
    """Seed torch's, NumPy's and Python's generators."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - networks draw from the global one
    random.seed(seed)


def seed_torch(seed: int) -> None:
    """Seed torch's generators on the devices that are in use: torch.manual_seed is slow where others are not."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def fresh(example: Any) -> Any:
    """An example input with copies of its tensors, for a network that writes into its input. What was one stays one."""
    made: dict[int, Tensor] = {}

    def copied(x: Tensor) -> Tensor:
        if id(x) not in made:
            made[id(x)] = x.detach().clone().requires_grad_(x.requires_grad)
        return made[id(x)]

    return pytree.tree_map_only(Tensor, copied, example)
