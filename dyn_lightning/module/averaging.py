"""Weight averaging around learned sizes: averages are of weights, and of one network at a time.

Lightning's ``WeightAveraging``, ``EMAWeightAveraging`` and ``StochasticWeightAveraging`` average every parameter of a
module, and the first two every buffer. Here sizes, phase, λ, the threshold and the objective's state are no numbers to
be averaged: a copy has them as the module has them now. An average begins anew when a size changes, and when elements
are put in another order, as weights from before belong to another network.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dyn_lightning.widths.width import Width


class Averages:
    """The averaged copies of a module that a trainer's callbacks hold."""

    def __init__(self) -> None:
        self._held: list[tuple[Any, nn.Module]] = []  # (what averages, its copy of the module)
        self._sizes: tuple[int, ...] | None = None

    def find(self, trainer: lightning.Trainer) -> None:
        """Look for them among the callbacks, after their ``setup``, and have them average weights alone."""
        self._held, self._sizes = [], None
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, StochasticWeightAveraging):
                self._held.append((callback, callback._average_model))  # type: ignore[arg-type]
            for value in vars(callback).values():
                if isinstance(value, AveragedModel):
                    if not isinstance(value, _OfWeights):
                        value.__class__ = type("AveragedNetwork", (_OfWeights, type(value)), {})
                    self._held.append((value, value.module))

    def begin_anew(self) -> None:
        """Forget what was averaged so far at the next :meth:`follow`: the order of elements has changed."""
        self._sizes = ()

    @torch.no_grad()
    def follow(self, module: Any) -> None:
        """Bring all copies to the module's sizes, phase, λ and whatever else is not averaged."""
        if not self._held:
            return
        sizes = tuple(width.size for width in module.widths.values())
        another = self._sizes is not None and self._sizes != sizes
        self._sizes = sizes
        for average, copy in self._held:
            if another:
                if average.n_averaged is not None:
                    average.n_averaged.zero_()
                copy_tensors(module, copy)
            else:
                copy_tensors(module, copy, leave=averaged(module))


class _OfWeights:
    """Makes an ``AveragedModel`` one of the weights of a module's network."""

    module: nn.Module

    def update_parameters(self, model: Any) -> None:
        copy = self.module
        self.module = _holder(copy)
        try:
            super().update_parameters(_holder(model))  # type: ignore[misc]
        finally:
            self.module = copy


def averaged(module: Any) -> list[Tensor]:
    """Parameters and buffers that averages are made of: all numbers of the network but λ's."""
    network: nn.Module = module.network
    apart = {id(t) for m in network.modules() if isinstance(m, Width) for t in chain(m.parameters(), m.buffers())}
    found = chain(network.parameters(), network.buffers())
    return [t for t in found if id(t) not in apart and (t.is_floating_point() or t.is_complex())]


def _holder(module: Any) -> nn.Module:
    """A module that has what is averaged and nothing else."""
    holder = nn.Module()
    for i, tensor in enumerate(averaged(module)):
        if isinstance(tensor, nn.Parameter):
            holder.register_parameter(str(i), tensor)
        else:
            holder.register_buffer(str(i), tensor)
    return holder


def copy_tensors(source: nn.Module, target: nn.Module, leave: list[Tensor] | None = None) -> None:
    """Copy parameters and buffers from one module to another like it, but for those of the source to ``leave``."""
    left = {id(tensor) for tensor in leave or ()}
    for ours, theirs in zip(_tensors(source), _tensors(target), strict=True):
        if id(ours) not in left:
            theirs.detach().copy_(ours)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())
