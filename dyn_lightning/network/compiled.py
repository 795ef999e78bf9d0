"""torch.compile for dynamic networks whose sizes stand still."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dyn_lightning.network.dynamic import DynamicNetwork, dynamic_layers, plain_copy
from dyn_lightning.widths.layout import Layout
from dyn_lightning.widths.width import held

_NUMBER = itertools.count()


class CompiledNetwork:
    """Calls a dynamic network as a compiled plain network of its kept sizes, which gets slices of its parameters.

    What the compiler sees is what consolidation would give, so it needs to know nothing of widths, and gradients reach
    the full parameters. Compiled anew when the sizes have changed. State that the network's own code keeps outside of
    parameters and buffers does not find its way back.

    Args:
        network: dynamic.
        options: of ``torch.compile``. Without ``dynamic``, every shape of the input is compiled by itself: with lengths
            left open, Inductor fails on some front ends (torch 2.11).

    Raises:
        ValueError: when called while a width is noisy: its size may change with every step.
    """

    def __init__(self, network: DynamicNetwork, **options: Any) -> None:
        self.network, self.options = network, {"dynamic": False, **options}
        self._sizes: tuple[int, ...] | None = None
        self._plain: nn.Module | None = None
        self._run: Callable[..., Any] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_sizes": None, "_plain": None, "_run": None}

    def __call__(self, *args: object, **kwargs: object) -> Any:
        widths = list(self.network.widths.values())
        with held(widths):
            if any(w.noisy for w in widths):
                raise ValueError("sizes are being learned: only a network whose sizes stand still can be compiled")
            self._prepare(tuple(w.size for w in widths))
            tensors, copies = plain_tensors(self.network)
        plain, run = self._plain, self._run
        assert plain is not None
        assert run is not None
        twins = dict(self.network.named_modules())
        for name, module in plain.named_modules():
            module.training = twins.get(name, self.network).training
        named = [*plain.named_parameters(remove_duplicate=False), *plain.named_buffers(remove_duplicate=False)]
        output = run({n: tensors[n] if n in tensors else _tensor(self.network, n) for n, _ in named}, args, kwargs)
        with torch.no_grad():
            for full, layout, part in copies:
                full.index_copy_(0, layout.indices(kept=True, device=full.device), part)
        return output

    def _prepare(self, sizes: tuple[int, ...]) -> None:
        if sizes == self._sizes:
            return
        with torch.inference_mode(False):  # also where the first pass is a validation
            plain = plain_copy(self.network)

        def run(tensors: dict[str, Tensor], args: Any, kwargs: Any) -> Any:
            return functional_call(plain, tensors, args, kwargs, tie_weights=False)

        # The compiler knows functions by their code: shapes of other sizes, or of another network, are not this one's.
        run.__code__ = run.__code__.replace(co_name=f"run_{next(_NUMBER)}")
        self._sizes, self._plain, self._run = sizes, plain, torch.compile(run, **self.options)


def plain_tensors(network: DynamicNetwork) -> tuple[dict[str, Tensor], list[tuple[Tensor, Layout, Tensor]]]:
    """Tensors of the plain network of the kept sizes, where they are not the dynamic network's own.

    Returns:
        By the plain network's names, with the dynamic network's gradients; and (full buffer, its layout, copy of the
        kept part) of those that a forward pass may change and whose change must be copied back.
    """
    tensors: dict[str, Tensor] = {}
    copies = []
    for name, layer in dynamic_layers(network).items():
        found = layer.plain_tensors()
        tensors |= {f"{name}.{key}" if name else key: x for key, x in found.items()}
        for key, full in layer._buffers.items():
            layout = layer.layouts().get(key, (None,))[0]
            if full is None or layout is None or full.dim() != 1 or found[key].data_ptr() == full.data_ptr():
                continue
            copies.append((full, layout, found[key]))
    names = {id(module): name for name, module in network.named_modules()}
    for bare in network.bare:
        prefix = names[id(bare.module)]
        tensors[f"{prefix}.{bare.name}" if prefix else bare.name] = bare.cut(kept=True)
    return tensors, copies


def _tensor(network: nn.Module, name: str) -> Tensor:
    path, _, key = name.rpartition(".")
    module: Any = network.get_submodule(path)
    found: Tensor = module._parameters[key] if key in module._parameters else module._buffers[key]
    return found
