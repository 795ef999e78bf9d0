"""Makes the small network at the end of a fit."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities import rank_zero_warn

from dyn_lightning.callbacks.batch_norm import BatchNormReestimation
from dyn_lightning.callbacks.complexity_logger import ComplexityLogger
from dyn_lightning.callbacks.final_checkpoint import final_checkpoint
from dyn_lightning.callbacks.progress_bar import print_above
from dyn_lightning.checks import positive, whole
from dyn_lightning.consolidate import Report
from dyn_lightning.errors import UserError
from dyn_lightning.files import check_absent
from dyn_lightning.module import DynamicModule
from dyn_lightning.module.artifact import (
    load_checkpoint,
    measure,
    settle,
    summary,
    with_best_weights,
    write_artifact,
)
from dyn_lightning.module.batches import in_float32, validation_batches
from dyn_lightning.network.batch_norm import reestimate
from dyn_lightning.runs import plot_history
from dyn_lightning.runs.folder import ARTIFACT, run_folder

__all__ = ["Consolidate", "load_checkpoint"]
FIGURE = "widths.png"

TRUE_PRECISIONS = ("16-true", "bf16-true", "64-true")
"""Of trainers that convert the whole module. What ships is float32 after all of them: audio and exports are."""


class Consolidate(Callback):
    """Consolidates the best checkpoint (or the last state) when a fit ends, and writes what ships.

    The checkpoint is the best of those with the final sizes, whichever callback wrote it. A run that ends in the search
    ships its last state, cut to the objective's sizes, and says so, in the log as in the report; one that ends in the
    warm-up has nothing to ship. A threshold is measured anew where that of the last validation is of other weights.

    The folder then holds the artifact (weights, architecture and the report). The report names the largest
    difference between the network that was trained and the small one, on validation batches. With a
    ``ComplexityLogger`` a figure of widths and FLOPs over the steps lies beside it, ``<dirpath>.widths.png``. A network
    without learned sizes is written as it is.

    Args:
        dirpath: folder of the artifact; None: ``artifact`` in the run's folder.
        batches: validation batches on which both networks' outputs are compared.
        tolerance: largest difference allowed, relative to the largest output.
        overwrite: replace an artifact that is there; else the fit is refused before it begins.

    Attributes:
        small: the small network, after the fit.
        report: what consolidation did.
        written: where the artifact was written; None as long as it was not.
        announce: say at the end of the fit what was done.

    Raises:
        SettingError: before the fit, if there is something in the artifact's place; at the end of a fit that ended in
            the warm-up.
        ConsolidationError: at the end of a fit whose network answers NaN, if the two networks do not compute the same,
            or for any other reason why no artifact could be written.
    """

    def __init__(
        self, dirpath: str | None = None, batches: int = 4, tolerance: float = 1e-4, overwrite: bool = False
    ) -> None:
        whole(0, batches=batches)
        positive(tolerance=tolerance)
        self.dirpath, self.batches, self.tolerance, self.overwrite = dirpath, batches, tolerance, overwrite
        self.written: Path | None = None
        self.announce = True
        self.small: torch.nn.Module | None = None
        self.report: Report | None = None

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        if stage != "fit" or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        dirpath = self._dirpath(trainer)
        if not self.overwrite and trainer.is_global_zero:
            check_absent([dirpath], "dirpath of Consolidate")

    def _dirpath(self, trainer: lightning.Trainer) -> Path:
        """Where to; all processes have to ask."""
        return Path(self.dirpath) if self.dirpath is not None else run_folder(trainer) / ARTIFACT

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not isinstance(pl_module, DynamicModule):
            return
        dirpath = self._dirpath(trainer)  # asks the other processes: before one goes on alone
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if pl_module.phase == "warmup":
            settle(pl_module)  # raises, in all processes
        failed: Exception | None = None
        if trainer.is_global_zero:
            try:
                self._write(trainer, pl_module, dirpath)
            except Exception as error:  # whatever it is: the run's work must not be lost with it
                failed = error
        if trainer.strategy.broadcast(failed is not None):
            checkpoint = last_checkpoint(trainer)  # by all processes, as it may have to be written
            if failed is not None:
                raise ConsolidationError(failed, checkpoint) from failed

    def _write(self, trainer: lightning.Trainer, pl_module: DynamicModule, dirpath: Path) -> None:
        checkpoint = final_checkpoint(trainer)
        module = with_best_weights(pl_module, checkpoint)
        if trainer.precision in TRUE_PRECISIONS:
            module.float()
        ending = settle(module)
        if not ending.final and (recent := _recent_inputs(trainer)):
            reestimate(module.network, in_float32(recent))
        if not checkpoint and (best := getattr(trainer.checkpoint_callback, "best_model_path", "")):
            rank_zero_warn(f"{best} is from before the sizes were final: what ships is the end of the run")
        batches, metrics = validation_batches(trainer, module.device), None
        if math.isfinite(module.threshold) and not module.threshold_is_own:
            metrics = measure(module, batches) or None
        metrics = metrics or _metrics_of(trainer, checkpoint)
        inputs = [module.task.input_of(batch) for batch in islice(batches, self.batches)]
        self.small, self.report = write_artifact(
            module, dirpath, inputs, self.tolerance, ending=ending, metrics=metrics
        )
        for remark in self.report.remarks:
            rank_zero_warn(remark)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ComplexityLogger) and callback.history:
                plot_history(callback.history, dirpath.with_name(f"{dirpath.name}.{FIGURE}"))
        self.written = dirpath
        if self.announce:
            print_above(trainer, summary(self.report, dirpath))


def _metrics_of(trainer: lightning.Trainer, checkpoint: str) -> dict[str, float] | None:
    """What is known of the weights that ship: a checkpoint's own score, or the last validation."""
    kept: Any = trainer.checkpoint_callback
    if checkpoint:
        own = checkpoint == getattr(kept, "best_model_path", "") and getattr(kept, "monitor", None)
        found = {kept.monitor: kept.best_model_score} if own and kept.best_model_score is not None else {}
    else:
        found = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("val")}
    return {name: float(value) for name, value in found.items() if math.isfinite(value)} or None


class ConsolidationError(UserError, RuntimeError):
    """What was trained could not be written as an artifact; the message gives the command that tries again."""

    def __init__(self, reason: Exception, checkpoint: str) -> None:
        told = str(reason) if isinstance(reason, UserError) else f"{type(reason).__name__}: {reason}"
        super().__init__(
            f"consolidation failed: {told.rstrip('.')}. The run is not lost; once that is mended: "
            f"dyn-lightning consolidate --ckpt_path {checkpoint}"
        )


def last_checkpoint(trainer: lightning.Trainer) -> str:
    """A checkpoint to consolidate later: the best with the final sizes, or the last; where there is none, a new one."""
    paths = [
        getattr(c, "last_model_path", "") or getattr(c, "best_model_path", "") for c in trainer.checkpoint_callbacks
    ]
    kept = final_checkpoint(trainer) if trainer.is_global_zero else ""
    found: str = trainer.strategy.broadcast(kept or next((p for p in paths if p and Path(p).is_file()), ""))
    if not found:
        found = str(trainer.strategy.broadcast(run_folder(trainer) / "checkpoints" / "last.ckpt"))
        trainer.save_checkpoint(found)
    return found


def _recent_inputs(trainer: lightning.Trainer) -> list[Any]:
    """Training inputs that are at hand."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((c.recent_inputs for c in callbacks if isinstance(c, BatchNormReestimation)), [])
