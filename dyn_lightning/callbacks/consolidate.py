"""Makes the small network at the end of a fit."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities import rank_zero_info
from torch.utils import _pytree as pytree

from dyn_lightning.artifact import save_artifact
from dyn_lightning.artifact.trained import constructor_of
from dyn_lightning.callbacks.complexity_logger import ComplexityLogger
from dyn_lightning.consolidate import Report, consolidate, unchanged
from dyn_lightning.errors import UserError
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


def with_best_weights(module: DynamicModule, checkpoint: str) -> DynamicModule:
    """A copy of a module with the weights and sizes of a checkpoint; of its own where there is none."""
    chosen = copy.deepcopy(module)
    chosen.trainer = None
    if checkpoint and Path(checkpoint).is_file():
        load_checkpoint(chosen, checkpoint)
    return chosen


def load_checkpoint(module: DynamicModule, checkpoint: str, *, weights_only: bool = True) -> None:
    """Load weights, sizes and phase from a checkpoint of a fit.

    Args:
        module: of the configuration that the checkpoint was made with.
        checkpoint: the file.
        weights_only: load tensors and primitives alone; anything else in a checkpoint can run code.

    Raises:
        ValueError: names the file, if it is no such checkpoint or belongs to another network.
    """
    try:
        if not Path(checkpoint).is_file():
            raise OSError("no such file")
        content = torch.load(checkpoint, map_location=module.device, weights_only=weights_only)
        module.on_load_checkpoint(content)
        module.load_state_dict(content["state_dict"])
    except (OSError, KeyError, RuntimeError) as error:
        raise UserError(f"{checkpoint}: cannot be loaded with this configuration ({error})") from error


def validation_inputs(trainer: lightning.Trainer, module: DynamicModule, batches: int) -> list[Any]:
    """Inputs of the first validation batches; none where there is no validation."""
    loaders = trainer.val_dataloaders
    if loaders is None:
        return []
    first = loaders[0] if isinstance(loaders, (list, tuple)) else loaders
    return [module.task.input_of(batch).to(module.device) for batch in islice(first, batches)]


def write_artifact(
    module: DynamicModule,
    dirpath: Path,
    inputs: Iterable[Any],
    tolerance: float = 1e-4,
    *,
    sizes: Mapping[str, int] | None = None,
    metrics: Mapping[str, float] | None = None,
    exports: Sequence[str] = (),
) -> tuple[torch.nn.Module, Report]:
    """Consolidate a module's network, compare both on inputs, and write the small one.

    A search that is still on ends here: its widths freeze at the objective's sizes, or at those given.

    Args:
        module: its sizes are frozen.
        dirpath: folder of the artifact.
        inputs: on which both are compared; the first two items of the first are the example that is traced.
        tolerance: largest difference allowed, relative to the largest output.
        sizes: of each width, where not the objective's.
        metrics: name → value, for the report and the model card.
        exports: see ``save_artifact``.

    Raises:
        RuntimeError: if the two do not compute the same.
    """
    if module.phase == "search":
        module.set_phase("settle")
    for name, size in (sizes or {}).items():
        module.widths[name].freeze(size)
    inputs = list(inputs)
    if module.is_dynamic:
        small, report = consolidate(module.network, inputs)
    else:
        small, report = unchanged(module.network, module.complexity)
    if (report.largest_relative_difference or 0.0) > tolerance:
        raise RuntimeError(
            f"the consolidated network differs by {report.largest_difference:.3g} from the one that was "
            f"trained, relative {report.largest_relative_difference:.3g}, tolerance {tolerance:g}"
        )
    metadata: dict[str, Any] = {"task": module.task.name, **module.task.metadata()}
    threshold = float(module.threshold)
    if math.isfinite(threshold):
        metadata["threshold"] = threshold
    save_artifact(
        small,
        dirpath,
        report=report.as_dict(),
        metadata=metadata,
        backbone=constructor_of(module.hparams.get("backbone")),
        example_input=example_of(inputs),
        metrics=metrics,
        exports=exports,
    )
    return small, report


def example_of(inputs: Sequence[Any]) -> Any:
    """The first two items of the first batch of inputs; None where there is none."""
    if not inputs:
        return None
    return pytree.tree_map(lambda x: x[:2] if isinstance(x, torch.Tensor) and x.dim() else x, inputs[0])


def summary(report: Report, dirpath: Path) -> str:
    """What consolidation did, in two lines at most."""
    unit = report.unit.replace("_", " ").replace("flops", "FLOPs")
    sizes = ", ".join(f"{name} {kept}/{full}" for name, (kept, full) in report.sizes.items())
    largest = report.largest_difference
    difference = "" if largest is None else f", outputs within {largest:.2g}"
    done = "consolidated" if sizes else "no sizes to learn"
    return (
        f"{done}: {report.flops_before:.4g} → {report.flops:.4g} {unit}, "
        f"{report.parameters_before} → {report.parameters} parameters{difference}; {dirpath}\n  {sizes}"
    ).rstrip()
