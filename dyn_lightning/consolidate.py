"""Dynamic backbone → plain small network, and the comparison of what both compute."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.costs.budgets import share_of_all, share_of_learnable
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.errors import UserError
from dyn_lightning.inputs import call_arguments, tensors_in
from dyn_lightning.network.dynamic import AnyModule, DynamicNetwork, plain_copy, run_in_eval


@dataclass(frozen=True)
class Report:
    """What consolidation did.

    Attributes:
        largest_difference: largest absolute difference between the outputs of the dynamic network in
            evaluation mode and of the small one; None where no batches were given.
        largest_relative_difference: the same over the largest absolute output.
        batches: batches compared.
        unit: "flops_per_second" (of audio) or "flops_per_call".
        parameters, parameters_before: their number, without λ's own.
        flops, flops_before: convention ``full``, in ``unit``.
        flops_paper, flops_paper_before: convention of the paper's first author, in ``unit``.
        sizes: for each width (kept, full).
        layers: one row per operation, before and after.
        share_of_all: ``flops`` over ``flops_before``.
        share_of_learnable: the same of the FLOPs that the widths govern; None where they govern none.
        budget: FLOPs that were asked for at most, in ``unit``; None without a budget, as for the next two.
        budget_asked: how it was stated, such as "share=0.25".
        within_budget: whether the cost is no more than that.
        sizes_final: whether the network has trained at these sizes; if not, it was cut to them afterwards.
        remarks: what whoever uses the network has to know, in whole sentences.
    """

    largest_difference: float | None
    largest_relative_difference: float | None
    batches: int
    unit: str
    parameters: int
    parameters_before: int
    flops: float
    flops_before: float
    flops_paper: float
    flops_paper_before: float
    sizes: dict[str, tuple[int, int]]
    layers: list[dict[str, Any]]
    share_of_all: float = 1.0
    share_of_learnable: float | None = None
    budget: float | None = None
    budget_asked: str | None = None
    within_budget: bool | None = None
    sizes_final: bool = True
    remarks: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Primitives alone, for JSON."""
        return asdict(self)


def consolidate(
    dynamic: DynamicNetwork[AnyModule], batches: Iterable[object] | None = None
) -> tuple[AnyModule, Report]:
    """Turn a dynamic network into an ordinary small one; the dynamic network is left as it was.

    Args:
        dynamic: what :func:`dyn_lightning.dynamize.dynamize` made.
        batches: example inputs on which the two networks' outputs are compared.

    Returns:
        The backbone's own class with torch.nn layers of the kept sizes (and, where torch.nn has none of such sizes,
        :class:`~dyn_lightning.modules.stacked_rnn.StackedRNN` or
        :class:`~dyn_lightning.modules.attention.SlimMultiheadAttention`), in the same mode and on the same device; and
        a :class:`Report`.

    Raises:
        TypeError: if the network has no widths.
        UserError: if an output of the dynamic network is NaN where its input is not.
        RuntimeError: if an output's shape changes.
    """
    if not isinstance(dynamic, DynamicNetwork):
        raise TypeError(f"{type(dynamic).__name__} has no widths: consolidate takes what dynamize has made")
    small = plain_copy(dynamic)
    largest, scale, compared = 0.0, 0.0, 0
    for batch in batches if batches is not None else ():
        outputs = run_in_eval(dynamic, batch)
        check_outputs(outputs, batch)
        for a, b in zip(outputs, run_in_eval(small, batch), strict=True):
            if a.shape != b.shape:
                raise RuntimeError(f"consolidation changed an output's shape from {a.shape} to {b.shape}")
            if a.numel():
                largest = max(largest, _largest_difference(a, b))
                scale = max(scale, a.to(torch.complex128).abs().max().item())
        compared += 1
    theta = {id(w.theta) for w in dynamic.complexity.widths.values()}
    before = sum(p.numel() for p in dynamic.parameters() if id(p) not in theta)
    relative = largest / max(scale, torch.finfo(torch.float32).tiny)
    return small, _report(
        dynamic.complexity, before, small, (largest, relative) if compared else (None, None), compared
    )


def check_outputs(outputs: list[Tensor], batch: object) -> None:
    """Raises UserError where outputs hold NaN, though the inputs are finite."""
    args, kwargs = call_arguments(batch)
    if not all(bool(x.isfinite().all()) for x in tensors_in((args, kwargs))):
        return
    if any(bool(x.isnan().any()) for x in outputs):
        raise UserError(
            "the trained network's outputs are NaN on finite inputs: it is no use. Train again at a lower learning "
            "rate, or take an earlier checkpoint (consolidate --ckpt_path FILE)"
        )


def unchanged(network: AnyModule, cost: Complexity, batches: Iterable[object] = ()) -> tuple[AnyModule, Report]:
    """What :func:`consolidate` would give for a network without learned sizes: a copy of it, and its cost twice.

    Raises UserError as :func:`consolidate` does.
    """
    for batch in batches:
        check_outputs(run_in_eval(network, batch), batch)
    parameters = sum(p.numel() for p in network.parameters())
    return copy.deepcopy(network), _report(cost, parameters, network, (None, None), 0)


def _largest_difference(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference; infinite where one is a number and the other is not."""
    same = (a == b) | (a.isnan() & b.isnan())
    difference = (a.to(torch.complex128) - b.to(torch.complex128)).abs().nan_to_num(math.inf)
    return difference.masked_fill(same, 0.0).max().item()


def _report(
    cost: Complexity,
    parameters_before: int,
    small: nn.Module,
    largest: tuple[float, float] | tuple[None, None],
    compared: int,
) -> Report:
    full, now = cost.full_sizes, cost.sizes_now
    return Report(
        largest_difference=largest[0],
        largest_relative_difference=largest[1],
        batches=compared,
        unit=cost.unit,
        parameters=sum(p.numel() for p in small.parameters()),
        parameters_before=parameters_before,
        flops=cost.flops_at(now),
        flops_before=cost.flops_at(full),
        flops_paper=cost.flops_at(now, "paper"),
        flops_paper_before=cost.flops_at(full, "paper"),
        sizes={name: (now[name], full[name]) for name in full},
        layers=cost.table(),
        share_of_all=share_of_all(cost, now),
        share_of_learnable=share_of_learnable(cost, now) if cost.learnable_flops() else None,
    )
