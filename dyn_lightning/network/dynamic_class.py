"""The class of a dynamic network: a DynamicNetwork that is an instance of its backbone's class as well."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from typing import TypeVar

from torch import nn

from dyn_lightning.network.dynamic import DynamicNetwork

AnyModule = TypeVar("AnyModule", bound=nn.Module)
T = TypeVar("T")


class _Container:
    """A container runs, counts and iterates over its modules; its widths are none of these."""

    _modules: dict[str, nn.Module]

    def _own(self) -> dict[str, nn.Module]:
        return {name: module for name, module in self._modules.items() if name != "widths"}

    def __iter__(self) -> Iterator[object]:
        return iter(self._own() if isinstance(self, nn.ModuleDict) else self._own().values())

    def __len__(self) -> int:
        return len(self._modules) - 1


class _Dict(_Container):
    def keys(self) -> KeysView[str]:
        return self._own().keys()

    def items(self) -> ItemsView[str, nn.Module]:
        return self._own().items()

    def values(self) -> ValuesView[nn.Module]:
        return self._own().values()


def dynamic_class(plain: type[AnyModule]) -> type[DynamicNetwork[AnyModule]]:
    """The class of a dynamic network of the given plain class, whose own methods run with sizes in place."""
    if plain not in _MADE:
        _MADE[plain] = _make(plain)
    return _MADE[plain]


_MADE: dict[type, type] = {}


def _make(plain: type[nn.Module]) -> type:
    bases: list[type] = [DynamicNetwork]
    if issubclass(plain, (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
        bases.insert(0, _Dict if issubclass(plain, nn.ModuleDict) else _Container)
    own = {name for base in plain.__mro__ if not issubclass(nn.Module, base) for name in vars(base)}
    taken = {name for base in (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict, *bases) for name in dir(base)}
    found = {name: inspect.getattr_static(plain, name) for name in sorted(own - taken)}
    methods = {name: _method(name, f) for name, f in found.items() if inspect.isfunction(f)}
    return type(f"Dynamic{plain.__name__}", (*bases, plain), methods)


def _method(name: str, method: Callable[..., T]) -> Callable[..., object]:
    """A method of the backbone's, called with sizes in place."""
    if inspect.isgeneratorfunction(method):

        @functools.wraps(method)
        def generate(self: DynamicNetwork, *args: object, **kwargs: object) -> Iterator[object]:
            with self._dyn_in_use(name):
                yield from method(self, *args, **kwargs)

        return generate

    @functools.wraps(method)
    def call(self: DynamicNetwork, *args: object, **kwargs: object) -> T:
        with self._dyn_in_use(name):
            return method(self, *args, **kwargs)

    return call
