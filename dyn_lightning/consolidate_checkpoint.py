"""What ``dyn-lightning consolidate`` does: a checkpoint's artifact, at any budget, and its accuracy-cost curve."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import nn

from dyn_lightning.artifact.from_module import example_of, summary, write_artifact
from dyn_lightning.callbacks.batch_norm import has_statistics, reestimate
from dyn_lightning.consolidate import Report
from dyn_lightning.errors import SettingError
from dyn_lightning.exports.quantize import compare_int8, quantize
from dyn_lightning.module import DynamicModule
from dyn_lightning.operating_points import accuracy_cost_curve, curve_table, evaluate, save_curve, sizes_for

COMPARED_BATCHES, STATISTICS_BATCHES = 4, 16


def consolidate_checkpoint(
    module: DynamicModule,
    dirpath: Path,
    datamodule: LightningDataModule | None = None,
    *,
    flops_per_second: float | None = None,
    share: float | None = None,
    curve_points: int = 0,
    exports: Sequence[str] = (),
) -> tuple[nn.Module, Report]:
    """Write the artifact of a module with a checkpoint's weights, and print what was done.

    Args:
        module: its sizes are frozen.
        dirpath: folder of the artifact; the curve lies beside it, ``<dirpath>.curve.png`` and ``.json``.
        datamodule: without one both networks are compared on noise, batch normalisation keeps the statistics of the
            checkpoint's own sizes, and there are no metrics.
        flops_per_second: a budget below the checkpoint's own, all that runs included.
        share: such a budget as a share of the FLOPs that the sizes govern.
        curve_points: budgets of the curve; 0 for no curve.
        exports: "onnx", "pt2" and "int8".

    Raises:
        ValueError: if a budget is out of reach, the curve is asked for without data, or either of a run that learned
            no sizes.
        RuntimeError: if the consolidated network does not compute the same.
    """
    network = module.eval().network
    budget_given = flops_per_second is not None or share is not None
    if not module.is_dynamic and (budget_given or curve_points):
        raise SettingError("consolidate: the run learned no sizes and so has one cost: leave out budget and curve")
    batches, statistics = _data(module, datamodule, budget_given or curve_points > 0)
    if curve_points:
        if not batches:
            raise SettingError("consolidate: a curve wants data, give the run's configuration as well: -c config.yaml")
        rows = accuracy_cost_curve(network, module.task, batches, points=curve_points, statistics=statistics)
        metric = save_curve(rows, dirpath.with_name(f"{dirpath.name}.curve"))
        print(curve_table(rows, metric))
    sizes = sizes_for(network, flops_per_second=flops_per_second, share=share) if budget_given else None
    if sizes and sizes != network.complexity.sizes_now and has_statistics(network):
        for name, size in sizes.items():
            network.widths[name].freeze(size)
        if statistics:
            reestimate(network, statistics)
        else:
            print("batch normalisation keeps statistics of other sizes: give the run's configuration, -c config.yaml")
    inputs = [module.task.input_of(batch) for batch in islice(batches, COMPARED_BATCHES)]
    if not inputs and module.example_shape is not None:
        inputs = [0.1 * torch.randn(*module.example_shape)]
    metrics = _settled_metrics(module, sizes, batches) if batches else None
    small, report = write_artifact(module, dirpath, inputs, sizes=sizes, metrics=metrics, exports=exports)
    print(summary(report, dirpath))
    if "int8" in exports and inputs:
        judge = (lambda n: evaluate(n, module.task, batches)) if batches else None
        print(compare_int8(small, quantize(small), example_of(inputs), evaluate=judge).summary())
    return small, report


def _data(module: DynamicModule, datamodule: LightningDataModule | None, resized: bool) -> tuple[Any, list[Any]]:
    """Validation batches, and training inputs for batch normalisation's statistics where sizes change."""
    if datamodule is None:
        return (), []
    datamodule.setup("validate")
    batches = _first(datamodule.val_dataloader())
    if not (resized and has_statistics(module.network)):
        return batches, []
    datamodule.setup("fit")
    loader = _first(datamodule.train_dataloader())
    return batches, [module.task.input_of(batch) for batch in islice(loader, STATISTICS_BATCHES)]


def _settled_metrics(module: DynamicModule, sizes: Mapping[str, int] | None, batches: Any) -> dict[str, float]:
    """Metrics of the validation set at the sizes that will be written."""
    if module.phase == "search":
        module.set_phase("settle")
    for name, size in (sizes or {}).items():
        module.widths[name].freeze(size)
    found = evaluate(module.network, module.task, batches)
    return {f"val/{name}": value for name, value in found.items() if math.isfinite(value)}


def _first(loader: Any) -> Iterable[Any]:
    """The first of several loaders, or the only one."""
    first: Iterable[Any] = loader[0] if isinstance(loader, (list, tuple)) else loader
    return first
