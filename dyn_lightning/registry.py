"""Tables that other files fill: each entry once, and a clear word where there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from dyn_lightning.errors import SettingError

K = TypeVar("K")
V = TypeVar("V")


class Registry(Mapping[K, V]):
    """A mapping that is filled entry by entry.

    Args:
        what: an entry in words, such as "price".
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._entries: dict[K, V] = {}
        self._by: dict[K, Any] = {}

    def add(self, key: K, value: V, by: Any = None) -> None:
        """Enter a value.

        Args:
            key: new; or, where a notebook's cell runs again, one that a class of the same name has entered there.
            value: of any kind.
            by: the class that declares it.

        Raises:
            SettingError: if there is an entry under this key.
        """
        old = self._by.get(key)
        if key in self._entries and not _again(old, by):
            whose = f", by {old.__module__}.{name_of(old)}" if old is not None else ""
            raise SettingError(f"{name_of(key)} has a {self.what} already{whose}: it cannot have two")
        self._entries[key], self._by[key] = value, by

    def __getitem__(self, key: K) -> V:
        try:
            return self._entries[key]
        except KeyError:
            known = ", ".join(map(name_of, self._entries)) or "nothing"
            raise SettingError(f"{name_of(key)} has no {self.what}: only {known}") from None

    def get(self, key: Any, default: Any = None) -> Any:
        return self._entries.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def name_of(thing: Any) -> str:
    return str(getattr(thing, "__qualname__", thing))


def _again(old: Any, new: Any) -> bool:
    names = [(getattr(x, "__module__", None), getattr(x, "__qualname__", None)) for x in (old, new)]
    return names[0] == names[1] and names[0][0] == "__main__"
