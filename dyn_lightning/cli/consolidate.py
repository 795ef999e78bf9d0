"""What ``dyn-lightning consolidate`` does: a checkpoint's artifact, at any budget, and its accuracy-cost curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import nn

from dyn_lightning.artifact.files import INT8
from dyn_lightning.checks import whole
from dyn_lightning.consolidate import Report
from dyn_lightning.costs.uncounted import patterns, refuse_uncounted
from dyn_lightning.errors import SettingError
from dyn_lightning.exports.quantize import compare_int8, quantize
from dyn_lightning.module import DynamicModule
from dyn_lightning.module.artifact import (
    Ending,
    ExportsFailed,
    as_call,
    example_of,
    measure,
    settle,
    summary,
    write_artifact,
)
from dyn_lightning.module.batches import data_batches
from dyn_lightning.module.evaluation import evaluate
from dyn_lightning.module.operating_points import accuracy_cost_curve, curve_table, save_curve, sizes_for
from dyn_lightning.network.batch_norm import has_statistics, reestimate

COMPARED_BATCHES, STATISTICS_BATCHES = 4, 16


def consolidate_checkpoint(
    module: DynamicModule,
    dirpath: Path,
    datamodule: LightningDataModule | None = None,
    *,
    flops_per_second: float | None = None,
    share: float | None = None,
    share_of_all: float | None = None,
    curve_points: int = 0,
    exports: Sequence[str] = (),
    allow_uncounted: Sequence[str] = (),
) -> tuple[nn.Module, Report]:
    """Write the artifact of a module with a checkpoint's weights, and print what was done.

    Args:
        module: its sizes are frozen.
        dirpath: folder of the artifact; the curve lies beside it, ``<dirpath>.curve.png`` and ``.json``.
        datamodule: without one both networks are compared on noise, batch normalisation keeps the statistics of the
            checkpoint's own sizes, and there are no metrics.
        flops_per_second: a budget below the checkpoint's own, all that runs included.
        share: such a budget as a share of the FLOPs that the sizes govern.
        share_of_all: such a budget as a share of all FLOPs at full size.
        curve_points: budgets of the curve; 0 for no curve.
        exports: "onnx", "pt2" and "int8".
        allow_uncounted: patterns of calls that may have no price under a budget, beside those that the run's own
            objective allows.

    Raises:
        SettingError: if a budget is out of reach or a call has no price, the curve is asked for without data, or either
            of a run that learned no sizes.
        RuntimeError: if the consolidated network does not compute the same.
        ExportError: if one of ``exports`` cannot be made; all else was done, and is printed.
    """
    module.eval()
    whole(0, curve=curve_points)
    given = {"flops_per_second": flops_per_second, "share": share, "share_of_all": share_of_all}
    asked = {name: value for name, value in given.items() if value is not None}
    budget_given = bool(asked)
    if not module.is_dynamic and (budget_given or curve_points):
        raise SettingError("consolidate: the run learned no sizes and so has one cost: leave out budget and curve")
    if budget_given:
        allowed = (*module.learned[1].allow_uncounted, *patterns(allow_uncounted))
        refuse_uncounted(module.complexity.uncounted, allowed)
    batches, statistics = _data(module, datamodule, budget_given or curve_points > 0 or module.phase == "search")
    if curve_points:
        _draw_curve(module, dirpath, batches, statistics, curve_points)
    before = module.complexity.sizes_now
    sizes = sizes_for(module.learned[0], **asked) if budget_given else None
    ending = settle(module, sizes)
    remarks = [*ending.remarks, *_renewed(module, sizes, before, statistics)]
    inputs = [module.task.input_of(batch) for batch in islice(batches, COMPARED_BATCHES)]
    if not inputs and module.example_shape is not None:
        inputs = [0.1 * torch.randn(*module.example_shape)]
    metrics = measure(module, batches) if batches else None
    failed: ExportsFailed | None = None
    try:
        small, report = write_artifact(
            module,
            dirpath,
            inputs,
            sizes=sizes,
            asked=asked or None,
            ending=Ending(ending.final, tuple(remarks)),
            metrics=metrics,
            exports=exports,
        )
    except ExportsFailed as error:
        small, report, failed = error.small, error.report, error
    print(summary(report, dirpath))
    if (dirpath / INT8).is_file() and inputs:
        judge = (lambda n: evaluate(n, module.task, batches)) if batches else None
        print(compare_int8(small, quantize(small), example_of([as_call(inputs[0])]), evaluate=judge).summary())
    if failed is not None:
        raise failed
    return small, report


def _draw_curve(module: DynamicModule, dirpath: Path, batches: Any, statistics: list[Any], points: int) -> None:
    """Write the accuracy-cost curve beside the artifact, and print it."""
    if not batches:
        raise SettingError("consolidate: a curve wants data, give the run's configuration as well: -c config.yaml")
    rows = accuracy_cost_curve(module.learned[0], module.task, batches, points=points, statistics=statistics)
    metric = save_curve(rows, dirpath.with_name(f"{dirpath.name}.curve"))
    print(curve_table(rows, metric))


def _renewed(
    module: DynamicModule, sizes: Mapping[str, int] | None, before: Mapping[str, int], statistics: list[Any]
) -> list[str]:
    """Measure batch normalisation anew where sizes have changed; gives what is to be said of the sizes."""
    if sizes and sizes == before and module.phase == "settle":
        return [
            "No size was given up: the checkpoint's own sizes cost no more than was asked for, and nothing grows back."
        ]
    if not (module.is_dynamic and module.complexity.sizes_now != before and has_statistics(module.network)):
        return []
    if not statistics:
        return ["Batch normalisation has the statistics of other sizes: give the run's configuration, -c config.yaml."]
    reestimate(module.network, statistics)
    return []


def _data(module: DynamicModule, datamodule: LightningDataModule | None, resized: bool) -> tuple[Any, list[Any]]:
    """Validation batches, and training inputs for batch normalisation's statistics where sizes change."""
    if datamodule is None:
        return (), []
    batches = data_batches(datamodule, "validate")
    if not (resized and has_statistics(module.network)):
        return batches, []
    loader = data_batches(datamodule, "fit")
    return batches, [module.task.input_of(batch) for batch in islice(loader, STATISTICS_BATCHES)]
