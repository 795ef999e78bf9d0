"""From a module to what ships: a checkpoint's weights, the artifact, and what was done in words."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree

from dyn_lightning.artifact.folder import save_artifact
from dyn_lightning.artifact.trained import constructor_of
from dyn_lightning.consolidate import Report, consolidate, unchanged
from dyn_lightning.costs.budgets import WAYS, budget_in_flops, share_of_all, share_of_learnable, told_above
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.errors import SettingError, UserError
from dyn_lightning.exports.check import ExportError
from dyn_lightning.module.checkpoint_io import read_checkpoint
from dyn_lightning.module.checkpoint_state import check_state
from dyn_lightning.module.dynamic_module import DynamicModule
from dyn_lightning.module.evaluation import evaluate
from dyn_lightning.network.dynamic import DynamicNetwork


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
    check_state(content, module, checkpoint)
    try:
        module.on_load_checkpoint(content)
        module.load_state_dict(content["state_dict"])
        if "threshold_of" not in content and module.phase == "settle":
            module.threshold_is_measured()  # older checkpoints do not say so
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
    if checkpoint and Path(checkpoint).is_file():
        load_checkpoint(chosen, checkpoint)
    return chosen


class Ending(NamedTuple):
    """How sizes came to be: whether they are ``final``, and the weights trained at them, and what is to be said."""

    final: bool = True
    remarks: tuple[str, ...] = ()


def settle(module: DynamicModule, sizes: Mapping[str, int] | None = None) -> Ending:
    """Freeze all sizes: a search that is still on ends at the objective's sizes, or at those given.

    Args:
        module: in any phase.
        sizes: of each width, where not the run's own.

    Raises:
        SettingError: for a module in the warm-up, which has learned no sizes, unless sizes are given.
    """
    complexity, phase = module.complexity, module.phase
    if phase == "warmup" and sizes is None:
        raise SettingError(
            "the sizes are not learned yet: this is the warm-up's network at full size, "
            f"{complexity.flops_full_size():.4g} {_unit(complexity.unit)}. Train on to the end of the search (fit "
            "--ckpt_path …/last.ckpt), or cut it to a budget: consolidate --ckpt_path …/last.ckpt --share 0.25 "
            "(--share 1 writes it whole)"
        )
    before = complexity.sizes_now
    if phase == "search" and sizes is None:
        module.set_phase("settle")
    for name, size in (sizes or {}).items():
        module.widths[name].freeze(size)
    now, at = complexity.sizes_now, _shares(complexity, before)
    if phase == "search":
        text = f"The sizes are not final: training ended in the search, at {at}"
        told = f"{text}. They were cut to the goal, and the weights have not trained at them."
        return Ending(False, (told if now != before else f"{text}.",))
    if phase == "warmup":
        text = "The sizes are not final: training ended in the warm-up, which learns none"
        told = f"{text}. They were cut from full size, and the weights have not trained at them."
        return Ending(False, (told if now != before else f"{text}.",))
    if now != before:
        return Ending(False, (f"Cut from the checkpoint's sizes ({at}); the weights have not trained at these.",))
    return Ending()


def measure(module: DynamicModule, batches: Iterable[Any]) -> dict[str, float]:
    """Metrics of a module's network as it is now, on the validation set; the threshold among them becomes its own."""
    found = evaluate(module.network, module.task, batches)
    module.threshold.fill_(found.get("threshold", math.nan))
    module.threshold_is_measured()
    return {f"val/{name}": value for name, value in found.items() if math.isfinite(value)}


def write_artifact(
    module: DynamicModule,
    dirpath: Path,
    inputs: Iterable[Any],
    tolerance: float = 1e-4,
    *,
    sizes: Mapping[str, int] | None = None,
    asked: Mapping[str, float] | None = None,
    ending: Ending | None = None,
    metrics: Mapping[str, float] | None = None,
    exports: Sequence[str] = (),
) -> tuple[torch.nn.Module, Report]:
    """Consolidate a module's network, compare both on inputs, and write the small one.

    A search that is still on ends here: see :func:`settle`.

    Args:
        module: its sizes are frozen.
        dirpath: folder of the artifact.
        inputs: on which both are compared; the first two items of the first are the example that is traced.
        tolerance: largest difference allowed, relative to the largest output.
        sizes: of each width, where not the objective's.
        asked: the budget, as one of ``budgets.WAYS`` → value; None: the objective's, where it has one.
        ending: what :func:`settle` gave, where the module was settled before.
        metrics: name → value, for the report and the model card.
        exports: see ``save_artifact``.

    Raises:
        SettingError: as :func:`settle`.
        UserError: if the network answers NaN, or its weights are no finite numbers.
        RuntimeError: if the two do not compute the same.
        ExportsFailed: if one of ``exports`` cannot be made; the artifact is there without it.
    """
    ending = settle(module, sizes) if ending is None else ending
    inputs = [as_call(x) for x in inputs]
    network = module.network
    if isinstance(network, DynamicNetwork):
        small, report = consolidate(network, inputs)
    else:
        small, report = unchanged(network, module.complexity, inputs)
    if odd := next((name for name, x in small.named_parameters() if not bool(x.isfinite().all())), None):
        raise UserError(f"{odd} holds NaN or infinity: training has failed, and the network is not written")
    if (report.largest_relative_difference or 0.0) > tolerance:
        raise RuntimeError(
            f"the consolidated network differs by {report.largest_difference:.3g} from the one that was "
            f"trained, relative {report.largest_relative_difference:.3g}, tolerance {tolerance:g}"
        )
    task = module.task
    metadata: dict[str, object] = {"task": task.name, **task.names(), **task.metadata()}
    if task.predictor:
        metadata["predictor"] = task.predictor
    threshold = float(module.threshold)
    if math.isfinite(threshold):
        metadata["threshold"] = threshold
        metadata["threshold_measured"] = module.threshold_is_own
        if not module.threshold_is_own:
            ending = Ending(ending.final, (*ending.remarks, THRESHOLD_OF_ANOTHER))
    report = with_budget(report, module, asked, ending)
    try:
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
    except ExportError as error:
        raise ExportsFailed(str(error), small, report) from error
    return small, report


class ExportsFailed(ExportError):
    """The artifact is written, but not all of its exports.

    Args:
        message: which, and why.
        small: the network that was written.
        report: what consolidation did.
    """

    def __init__(self, message: str, small: torch.nn.Module, report: Report) -> None:
        super().__init__(message)
        self.small, self.report = small, report


THRESHOLD_OF_ANOTHER = (
    "The decision threshold was measured on another network, before the weights or sizes became these: measure it anew "
    "(consolidate -c config.yaml does)."
)


def with_budget(report: Report, module: DynamicModule, asked: Mapping[str, float] | None, ending: Ending) -> Report:
    """A report that says what was asked for as well; above the budget is a remark of its own, the first.

    Args:
        report: what consolidation gave.
        module: what was consolidated.
        asked: see :func:`write_artifact`.
        ending: see :func:`settle`.
    """
    report = replace(report, sizes_final=ending.final, remarks=ending.remarks)
    if not module.is_dynamic:
        return report
    objective = module.learned[1]
    if asked:
        budget: float | None = budget_in_flops(module.complexity, **asked)
        above = told_above(budget, module.complexity)
    else:
        asked, budget = objective.asked, objective.budget(module.complexity)
        above = objective.above(module.complexity)
    if budget is None:
        return report
    in_flops = not set(asked) - set(WAYS)
    return replace(
        report,
        budget=budget if in_flops else None,
        budget_asked=", ".join(f"{name}={value:g}" for name, value in asked.items()) or None,
        within_budget=above is None,
        remarks=report.remarks if above is None else (f"{above}.", *report.remarks),
    )


def as_call(x: Any) -> Any:
    """A task's input as the one argument that a module gives its network; a bare dict would be its keywords."""
    return x if isinstance(x, torch.Tensor) else (x,)


def example_of(inputs: Sequence[Any]) -> Any:
    """The first two items of the first batch of inputs; None where there is none."""
    if not inputs:
        return None
    return pytree.tree_map(lambda x: x[:2] if isinstance(x, torch.Tensor) and x.dim() else x, inputs[0])


def summary(report: Report, dirpath: Path) -> str:
    """What consolidation did: cost before and after, both shares and the budget, the sizes, and a line a remark."""
    sizes = ", ".join(f"{name} {kept}/{full}" for name, (kept, full) in report.sizes.items())
    largest = report.largest_difference
    difference = "" if largest is None else f", outputs within {largest:.2g}" if largest else ", the same outputs"
    done = "consolidated" if sizes else "no sizes to learn"
    before, after = short_count(report.flops_before), short_count(report.flops)
    line = (
        f"{done}: {before} → {after} {_unit(report.unit)}{_of_budget(report)}, "
        f"{report.parameters_before:,} → {report.parameters:,} parameters{difference}; {dirpath}"
    )
    return "\n".join([line, *([f"  {sizes}"] if sizes else []), *(f"  ! {remark}" for remark in report.remarks)])


def _of_budget(report: Report) -> str:
    """Both shares, and the budget where there was one."""
    if report.share_of_learnable is None:
        return ""
    told = [f"{_percent(report.share_of_all)} of all", f"{_percent(report.share_of_learnable)} of the learnable"]
    if report.budget is None and report.budget_asked:
        told.append(f"budget {report.budget_asked}")
    if report.budget is not None:
        told.append(
            f"budget {short_count(report.budget)}" + (f": {report.budget_asked}" if report.budget_asked else "")
        )
    return f" ({', '.join(told)})"


def _shares(complexity: Complexity, sizes: Mapping[str, int]) -> str:
    of_learnable = share_of_learnable(complexity, sizes)
    return f"{_percent(share_of_all(complexity, sizes))} of all FLOPs, {_percent(of_learnable)} of the learnable"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _unit(unit: str) -> str:
    return unit.replace("_", " ").replace("flops", "FLOPs")


def short_count(value: float) -> str:
    """A count in four digits with its prefix.

    >>> short_count(85_312_000), short_count(9248), short_count(12)
    ('85.31 M', '9.248 k', '12')
    """
    for prefix, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{value / factor:.4g} {prefix}"
    return f"{value:.4g}"
