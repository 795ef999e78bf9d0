"""The learned sizes of a network, by name."""

from __future__ import annotations

from collections.abc import ItemsView, Mapping, ValuesView
from typing import TYPE_CHECKING

from torch import nn

from dyn_lightning.widths.width import Width


class WidthDict(nn.ModuleDict):
    """A ModuleDict that holds Widths and nothing else, which type checkers may rely on.

    Args:
        widths: name → Width.

    Raises:
        TypeError: for a module of another class, here and whenever one is put in.
    """

    def __init__(self, widths: Mapping[str, Width] | None = None) -> None:
        super().__init__(widths)

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """As of torch.nn, for Widths alone."""
        if not isinstance(module, Width):
            raise TypeError(f"{name}: a {type(module).__name__} is no Width")
        super().add_module(name, module)

    if TYPE_CHECKING:

        def __getitem__(self, key: str) -> Width: ...

        def items(self) -> ItemsView[str, Width]: ...

        def values(self) -> ValuesView[Width]: ...
