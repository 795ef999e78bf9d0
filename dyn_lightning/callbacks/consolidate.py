"""Makes the small network at the end of a fit."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities import rank_zero_info

from dyn_lightning.artifact.from_module import summary, with_best_weights, write_artifact
from dyn_lightning.callbacks.complexity_logger import ComplexityLogger
from dyn_lightning.consolidate import Report
from dyn_lightning.module import DynamicModule
from dyn_lightning.report import plot_history

FIGURE = "widths.png"


class Consolidate(Callback):
    """Consolidates the best checkpoint (or the last state) when a fit ends, and writes what ships.

    The folder then holds the artifact (weights, architecture and the report). The report names the largest
    difference between the network that was trained and the small one, on validation batches. With a
    ``ComplexityLogger`` a figure of widths and FLOPs over the steps lies beside it, ``<dirpath>.widths.png``. A network
    without learned sizes is written as it is.

    Args:
        dirpath: folder of the artifact; None: ``artifact`` in the logger's folder.
        batches: validation batches on which both networks' outputs are compared.
        tolerance: largest difference allowed, relative to the largest output.

    Attributes:
        small: the small network, after the fit.
        report: what consolidation did.

    Raises:
        RuntimeError: at the end of the fit, if the two networks do not compute the same.
    """

    def __init__(self, dirpath: str | None = None, batches: int = 4, tolerance: float = 1e-4) -> None:
        self.dirpath, self.batches, self.tolerance = dirpath, batches, tolerance
        self.small: torch.nn.Module | None = None
        self.report: Report | None = None

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not isinstance(pl_module, DynamicModule):
            return
        folder = trainer.log_dir or trainer.default_root_dir  # asks the other processes: before one goes on alone
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        module = with_best_weights(pl_module, getattr(trainer.checkpoint_callback, "best_model_path", ""))
        dirpath = Path(self.dirpath or Path(folder) / "artifact")
        inputs = validation_inputs(trainer, module, self.batches)
        self.small, self.report = write_artifact(module, dirpath, inputs, self.tolerance)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ComplexityLogger) and callback.history:
                plot_history(callback.history, dirpath.with_name(f"{dirpath.name}.{FIGURE}"))
        rank_zero_info(summary(self.report, dirpath))


def validation_inputs(trainer: lightning.Trainer, module: DynamicModule, batches: int) -> list[Any]:
    """Inputs of the first validation batches; none where there is no validation."""
    loaders = trainer.val_dataloaders
    if loaders is None:
        return []
    first = loaders[0] if isinstance(loaders, (list, tuple)) else loaders
    return [module.task.input_of(batch).to(module.device) for batch in islice(first, batches)]
