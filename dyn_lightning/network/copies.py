"""Copies of modules without what only watches them: a trainer's profiler does not travel with a network."""

from __future__ import annotations

import copy
import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import TypeVar

from torch import Tensor, nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)
Other = TypeVar("Other", bound=nn.Module)
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
LIGHTNING = ("lightning", "pytorch_lightning")


def become(module: nn.Module, other: type[Other]) -> Other:
    """A module that is made one of another class, with all that is in it."""
    object.__setattr__(module, "__class__", other)
    assert isinstance(module, other)
    return module


def copied(module: AnyModule, memo: dict[int, object], state: Mapping[str, object]) -> AnyModule:
    """A deep copy of a module, without hooks that Lightning's own objects have on it (a profiler's, a callback's).

    Args:
        module: of any class.
        memo: of ``copy.deepcopy``.
        state: the attributes to copy.
    """
    memo.update({**computed(module), **empty_stores(module)})
    memo.update({id(hook): hook for store in _stores(module) for hook in store.values() if watches(hook)})
    new = module.__class__.__new__(module.__class__)
    memo[id(module)] = new
    new.__dict__.update(copy.deepcopy(state, memo))
    for store in _stores(new):
        for key in [key for key, hook in store.items() if watches(hook)]:
            del store[key]
    return new


def computed(module: nn.Module) -> dict[int, Tensor]:
    """Copies of tensors that hooks compute and leave in a module (as torch.nn.utils.weight_norm does), by id."""
    found = [t for m in module.modules() for t in vars(m).values() if isinstance(t, Tensor) and not t.is_leaf]
    return {id(t): t.detach().clone() for t in found}


def empty_stores(module: nn.Module) -> dict[int, dict[object, object]]:
    """Copies of the containers in a module and its parts that have nothing in them, as most dicts of hooks, by id.

    Each module has a dozen; copy.deepcopy goes a long way round for each.
    """
    found = [v for m in module.modules() for v in vars(m).values() if type(v) in (dict, OrderedDict) and not v]
    return {id(store): type(store)() for store in found}


def watches(hook: Callable[..., object]) -> bool:
    """Whether a hook is Lightning's: what it holds fast is the trainer, and the network computes the same without."""
    while isinstance(hook, functools.partial):
        hook = hook.func
    owner = getattr(hook, "__self__", hook)
    return not isinstance(owner, nn.Module) and type(owner).__module__.partition(".")[0] in LIGHTNING


def _stores(module: nn.Module) -> Iterator[MutableMapping[int, Callable[..., object]]]:
    """Every dict of hooks in a module and its parts."""
    for part in module.modules():
        for name in HOOKS:
            yield part.__dict__.get(name, {})
