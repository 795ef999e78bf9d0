"""Runs a network and reports its calls: Python's own control flow needs no tracing then."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from dyn_lightning.graph.places import line_now
from dyn_lightning.graph.untouched import fresh, seed_all, seed_torch, unchanged
from dyn_lightning.inputs import call_arguments, modes_kept
from dyn_lightning.modules.stacked_rnn import StackedRNN


class Runner(TorchFunctionMode):
    """Runs a network and reports each call of a layer (as a whole) or a function outside such layers."""

    def __init__(self, network: nn.Module, is_leaf: Callable[[nn.Module], bool]) -> None:
        super().__init__()
        self.network = network
        self.is_leaf = is_leaf
        self.path: list[str] = []
        self.calls: list[str] = []
        self.entered: set[str] = set()
        self._leaf_depth = 0
        self._seeded = False

    @property
    def where(self) -> str:
        """The module whose code is running."""
        return self.path[-1] if self.path and self.path[-1] else "the network"

    @property
    def line(self) -> str:
        """The line of the network's code that is running, as " (net.py:12)"; "" where it is none of its own."""
        return line_now(Runner.call.__code__)

    def on_layer(self, name: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        """A layer was called."""

    def on_function(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Call the function; the result is what its caller gets."""
        return func(*args, **kwargs)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self._leaf_depth:
            return func(*args, **(kwargs or {}))
        self._count(getattr(func, "__name__", str(func)))
        return self.on_function(func, args, kwargs or {})

    def _count(self, name: str) -> None:
        """Keep a call's name. What it draws hangs on its place in the run, not on how much was drawn before it: code
        that goes one way or the other by chance then goes the same way at any size.
        """
        if self._seeded:
            seed_torch(len(self.calls))
        self.calls.append(name)

    def _enter(self, name: str, leaf: bool) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any) -> None:
            if leaf and not self._leaf_depth:
                self._count(name)
            self.entered.add(name)
            self.path.append(name)
            self._leaf_depth += leaf

        return hook

    def _leave(self, name: str, leaf: bool) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            if leaf and self._leaf_depth == 1 and out is not None:
                # Still inside: what the rule itself asks of tensors is none of the network's doing.
                self.on_layer(name, module, args, kwargs, out)
            self._leaf_depth -= leaf
            self.path.pop()

        return hook

    def call(self, example: Any, method: str = "forward", *, training: bool = False, forget: bool = True) -> Any:
        """Run the network without gradients, in evaluation mode or, but for its norms, in training mode.

        Hooks, modes and the example input are left as they were; so are buffers, the modules' attributes and the random
        generators if they are to ``forget``.
        """
        args, kwargs = fresh(call_arguments(example))
        modules = dict(self.network.named_modules())
        handles = []
        for name, module in modules.items():
            leaf = self.is_leaf(module)
            handles.append(module.register_forward_pre_hook(self._enter(name, leaf), prepend=True))
            # Also after an error: some networks try a call, and make another one where it fails.
            handles.append(module.register_forward_hook(self._leave(name, leaf), with_kwargs=True, always_call=True))
        recurrent = [m for m in modules.values() if isinstance(m, (nn.RNNBase, StackedRNN))]
        for layer in recurrent:
            # Called by hand before a forward pass, it would look like the code's own use of the weights.
            layer.__dict__["flatten_parameters"] = lambda: None
        run = self.network if method == "forward" else getattr(self.network, method)
        try:
            with modes_kept(self.network), unchanged(self.network) if forget else nullcontext(), torch.no_grad():
                self._set_mode(training)
                with self:
                    return run(*args, **kwargs)
        finally:
            self._seeded = False
            for layer in recurrent:
                layer.__dict__.pop("flatten_parameters", None)
            for handle in handles:
                handle.remove()

    def _set_mode(self, training: bool) -> None:
        self.calls = []
        self.path = []
        self._seeded = training
        self.network.train(training)
        if training:
            seed_all(0)
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._NormBase):
                    module.training = False
