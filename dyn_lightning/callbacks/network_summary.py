"""What is about to be trained, in a few lines."""

from __future__ import annotations

import lightning
from lightning.pytorch import Callback

from dyn_lightning.callbacks.progress_bar import print_above
from dyn_lightning.module import DynamicModule
from dyn_lightning.module.artifact import short_count


class NetworkSummary(Callback):
    """Says before a fit what the network costs: parameters, FLOPs, the share that can be learned, and its sizes.

    In the place of Lightning's ``ModelSummary``, which counts no FLOPs of a network without an example of its own.
    """

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if isinstance(pl_module, DynamicModule):
            print_above(trainer, network_summary(pl_module))


def network_summary(module: DynamicModule) -> str:
    """Parameters and FLOPs at full size, what of them can be learned, and the sizes as they are now of full ones."""
    complexity = module.complexity
    full, now = complexity.full_sizes, complexity.sizes_now
    name = type(module.network).__name__.removeprefix("Dynamic")
    unit = "FLOPs/s of audio" if complexity.unit == "flops_per_second" else "FLOPs/call"
    flops = complexity.flops_at(full)
    first = f"{name}: {complexity.parameters_at(full):,} parameters, {short_count(flops)}{unit}"
    if not full:
        return f"{first}; no sizes to learn"
    learnable = 100 * (flops - complexity.fixed_flops()) / flops
    sizes = ", ".join(f"{n} {size}" if now[n] == size else f"{n} {now[n]}/{size}" for n, size in full.items())
    return f"{first}, {learnable:.1f} % of them learnable\n  {len(full)} learnable size{'s'[: len(full) > 1]}: {sizes}"
