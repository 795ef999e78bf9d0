"""What a network's own code reads: parameters, buffers and integers, at the sizes in use while a call lasts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dyn_lightning.errors import UserError, first_line
from dyn_lightning.widths.layout import Layout

if TYPE_CHECKING:
    from dyn_lightning.network.dynamic import DynamicNetwork


@dataclass
class Bare:
    """A parameter or buffer that the network's code uses by itself, outside a layer's own call.

    Attributes:
        module: whose it is.
        name: its name there.
        dims: a Layout (or None) for each dimension.
        makes: dimensions that make a size which no layer makes; boundary noise lies on them.
    """

    module: nn.Module
    name: str
    dims: tuple[Layout | None, ...]
    makes: tuple[int, ...] = ()

    @property
    def tensor(self) -> Tensor:
        found = self.module._parameters.get(self.name)
        return found if found is not None else self.module._buffers[self.name]  # type: ignore[return-value]

    def cut(self, *, kept: bool = False) -> Tensor:
        """Cut to the elements in use (``kept``: that consolidation keeps)."""
        x = self.tensor
        for dim, layout in enumerate(self.dims):
            x = x if layout is None else layout.take(x, dim, kept=kept)
        return x

    def noisy(self) -> Tensor:
        """Cut to the elements in use, with boundary noise where it makes a size."""
        x = self.cut()
        for dim in self.makes:
            layout = self.dims[dim]
            x = x if layout is None else layout.noise(x, dim, batch_dim=None)
        return x

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the module's code read it at the sizes in use, and keep what the code writes to a buffer."""
        with torch._C.DisableTorchFunction():
            x = self.noisy()
        if self.name in self.module._parameters:
            # An entry of the instance's own dict is found before the parameter of that name.
            self.module.__dict__[self.name] = x
            try:
                yield
            finally:
                self.module.__dict__.pop(self.name, None)
            return
        whole, version = self.tensor, x._version
        self.module._buffers[self.name] = x
        try:
            yield
        finally:
            left = self.module._buffers.get(self.name)
            if left is x or (left is not None and left.shape == x.shape):
                self.module._buffers[self.name] = whole
                if left is not x or x._version != version:
                    self._write(whole, left)

    @torch.no_grad()
    def _write(self, whole: Tensor, part: Tensor) -> None:
        """Write the elements in use into the whole buffer."""
        if part.data_ptr() == whole.data_ptr() and part.stride() == whole.stride():
            return
        at = [
            torch.arange(n, device=whole.device) if layout is None else layout.indices(device=whole.device)
            for layout, n in zip(self.dims, whole.shape, strict=True)
        ]
        places = torch.meshgrid(*at, indexing="ij") if at else ()
        whole.index_put_(places, part.to(whole))


@dataclass
class Number:
    """An integer attribute of a module, or an entry of one, that is a size's value in the network's code."""

    module: nn.Module
    name: str
    index: int | None
    layout: Layout

    def set(self, value: int) -> None:
        if self.index is None:
            self.module.__dict__[self.name] = value
        else:
            values = list(self.module.__dict__[self.name])
            values[self.index] = value
            self.module.__dict__[self.name] = type(self.module.__dict__[self.name])(values)


@contextmanager
def in_place(bare: Sequence[Bare], numbers: Sequence[Number]) -> Iterator[None]:
    """Put parameters, buffers and numbers in place at the sizes in use, and put back the whole ones."""
    before = [(n, n.module.__dict__[n.name]) for n in numbers]
    with ExitStack() as stack:
        try:
            for number in numbers:
                number.set(number.layout.current)
            for one in bare:
                stack.enter_context(one.in_place())
            yield
        finally:
            for number, value in reversed(before):
                number.module.__dict__[number.name] = value


class Entering:
    """A forward hook of a part of a dynamic network: called by itself, it runs as within the whole network's call.

    Args:
        network: dynamic; its ``_dyn_enter`` and ``_dyn_leave`` are told which module calls.
        leaves: whether this is the hook behind the call.
    """

    def __init__(self, network: DynamicNetwork, *, leaves: bool) -> None:
        self.network, self.leaves = network, leaves

    def __call__(self, module: nn.Module, args: object, output: object = None) -> None:
        (self.network._dyn_leave if self.leaves else self.network._dyn_enter)(module)


def not_followed(network: DynamicNetwork, method: str, error: BaseException) -> str | None:
    """What to say of a failure of a network whose sizes are cut in code that no run has followed; None elsewhere."""
    if isinstance(error, UserError) or all(w.current == w.full_size for w in network.complexity.widths.values()):
        return None
    running: set[int] = set()
    trace = error.__traceback__
    while trace is not None:
        running.add(id(trace.tb_frame.f_locals.get("self")))
        trace = trace.tb_next
    modules = dict(network.named_modules())
    for name in network.unreached:
        owner = name if name in modules else name.rpartition(".")[0]
        if owner and id(modules[owner]) in running:
            return (
                f"{name} fails where sizes are cut ({first_line(error)}): no run of dynamize has used it. "
                "Give an input that does: dynamize(…, more_examples=[input])"
            )
    if method not in network.followed:
        return (
            f"{method}() fails where sizes are cut ({first_line(error)}): dynamize has followed "
            f"{', '.join(network.followed)} alone. Give its input: dynamize(…, methods={{{method!r}: input}})"
        )
    return None
