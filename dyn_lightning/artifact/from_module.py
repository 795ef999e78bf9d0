"""From a module to what ships: a checkpoint's weights, the artifact, and what was done in words."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from dyn_lightning.artifact.folder import save_artifact
from dyn_lightning.artifact.trained import constructor_of
from dyn_lightning.consolidate import Report, consolidate, unchanged
from dyn_lightning.errors import UserError
from dyn_lightning.module import DynamicModule
from dyn_lightning.runs.checkpoint_io import read_checkpoint


def load_checkpoint(module: DynamicModule, checkpoint: str, *, weights_only: bool = True) -> None:
    """Load weights, sizes and phase from a checkpoint of a fit.

    Args:
        module: of the configuration that the checkpoint was made with.
        checkpoint: the file.
        weights_only: load tensors and primitives alone; anything else in a checkpoint can run code.

    Raises:
        UserError: names the file, if it is no such checkpoint or belongs to another network.
    """
    content = read_checkpoint(checkpoint, map_location=module.device, weights_only=weights_only)
    try:
        module.on_load_checkpoint(content)
        module.load_state_dict(content["state_dict"])
    except UserError as error:
        raise UserError(f"{checkpoint}: {error}") from error
    except (KeyError, RuntimeError, TypeError, AttributeError, ValueError) as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[:3])
        raise UserError(
            f"{checkpoint}: cannot be loaded with this configuration ({reason}). Give its run's, -c config.yaml"
        ) from error


def with_best_weights(module: DynamicModule, checkpoint: str) -> DynamicModule:
    """A copy of a module with the weights and sizes of a checkpoint; of its own where there is none."""
    chosen = copy.deepcopy(module)
    chosen.trainer = None
    if checkpoint and Path(checkpoint).is_file():
        load_checkpoint(chosen, checkpoint)
    return chosen


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
