"""A progress bar that shows the phase and the cost."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar

from dyn_lightning.costs.budgets import share_of_all, share_of_learnable
from dyn_lightning.module import DynamicModule


class WidthsProgressBar(RichProgressBar):
    """Lightning's RichProgressBar with the phase, MFLOPs per second of audio (or per call), and the shares of
    all and of the learnable FLOPs that are kept."""

    def __init__(self, refresh_rate: int = 1, leave: bool = False) -> None:
        super().__init__(refresh_rate=refresh_rate, leave=leave)
        self._costs: dict[tuple[int, ...], float] = {}

    def get_metrics(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> dict[str, Any]:
        metrics: dict[str, object] = dict(super().get_metrics(trainer, pl_module))
        metrics.pop("v_num", None)
        if isinstance(pl_module, DynamicModule):
            complexity = pl_module.complexity
            sizes = tuple(complexity.sizes_now.values())
            if sizes not in self._costs:
                self._costs = {sizes: complexity.flops_now()}
            label = "MFLOPs/s" if complexity.unit == "flops_per_second" else "MFLOPs/call"
            metrics[label] = f"{self._costs[sizes] / 1e6:.2f}"
            if complexity.learnable_flops():
                now = complexity.sizes_now
                shares = share_of_all(complexity, now), share_of_learnable(complexity, now)
                # Two short ones: each fits into the column that a terminal of 80 leaves for metrics.
                metrics["of all"], metrics["learnable"] = (f"{100 * share:.3g} %" for share in shares)
            metrics["phase"] = pl_module.phase
        return metrics


def print_above(trainer: lightning.Trainer, text: str) -> None:
    """Print lines where they stay: above a progress bar that is at work, which redraws its place in the terminal.

    In the first process alone. Long lines are left to the terminal.
    """
    if not trainer.is_global_zero:
        return
    bar = trainer.progress_bar_callback
    if isinstance(bar, RichProgressBar) and bar.progress is not None and bar.is_enabled:
        bar.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
    elif isinstance(bar, ProgressBar):
        bar.print(text)
    else:
        print(text, flush=True)
