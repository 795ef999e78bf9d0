"""Parameters and FLOPs of a network as functions of its Widths: one traced pass, then arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from dyn_lightning.costs import op_cost
from dyn_lightning.costs.base import OpCost, numel
from dyn_lightning.errors import SettingError
from dyn_lightning.graph.polynomial import Polynomial, sorted_powers

if TYPE_CHECKING:
    from dyn_lightning.graph import Axis, Op
    from dyn_lightning.widths.width import Width

FlopsConvention = Literal["full", "paper"]


@dataclass(frozen=True)
class OpRow:
    """One operation's costs, as polynomials in the names of the Widths."""

    name: str
    kind: str
    role: str
    flops: dict[str, Polynomial]  # by convention, for one call
    params: Polynomial


class Complexity:
    """What a network costs at any size of its Widths, with a gradient at their real-valued sizes.

    The cost is that of the traced example (the whole batch) divided by its duration; ``unit`` names it.
    Conventions are those of `dyn_lightning.costs`: ``full`` counts all that runs, ``paper`` reproduces the
    published counts of arXiv 2601.13704.

    Args:
        ops: the traced operations, with each tensor dimension as a product of integers and Widths.
        widths: the Widths by name.
        duration_s: seconds of audio in the example; None: cost per call.
        parameters: number of parameters of the backbone. Those that belong to no layer among ``ops`` (a
            Parameter that ``forward`` uses by itself) count as fixed; without this argument not at all.

    Attributes:
        rows: costs of each operation.
        uncounted: "name (kind)" of the operations without a known cost: their FLOPs are missing everywhere.

    Raises:
        SettingError: if ``duration_s`` is not positive, or an operation depends on a Width not in ``widths``.
    """

    def __init__(
        self,
        ops: Sequence[Op],
        widths: Mapping[str, Width],
        duration_s: float | None = None,
        *,
        parameters: int | None = None,
    ) -> None:
        if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
            raise SettingError(f"duration_s={duration_s} must be a positive number of seconds, or None")
        self.widths = dict(widths)
        self.duration_s = duration_s
        names = {width: name for name, width in self.widths.items()}
        seen: set[nn.Module] = set()
        rows, uncounted = [], []
        for op in ops:
            cost = op_cost(op)
            cost = cost if op.runs else OpCost(params=cost.params)
            used = cost.flops_full.variables | cost.flops_paper.variables | cost.params.variables
            missing = used - names.keys()
            if missing:
                raise SettingError(f"{op.name} ({op.kind}) depends on a Width that is not in `widths`: {missing}")
            flops = {"full": cost.flops_full.renamed(names), "paper": cost.flops_paper.renamed(names)}
            own = cost.params - Polynomial.sum(map(numel, op.shared))
            params = own.renamed(names) if op.module not in seen else Polynomial({})
            rows.append(OpRow(op.name, op.kind, role(op), flops, params))
            if op.module is not None:
                seen.add(op.module)  # a layer called twice computes twice, but has its parameters once
            if not cost.counted:
                uncounted.append(f"{op.name} ({op.kind})")
        self.rows = tuple(rows)
        self.uncounted = tuple(uncounted)
        self._flops = {c: Polynomial.sum(row.flops[c] for row in rows) for c in get_args(FlopsConvention)}
        self._params = Polynomial.sum(row.params for row in rows)
        if parameters is not None:
            self._params = self._params + (parameters - self._params.at(self.full_sizes))
        self._tensors: dict[object, tuple[Tensor, Tensor]] = {}

    @property
    def unit(self) -> str:
        """``flops_per_second`` (of audio), or ``flops_per_call`` without a duration."""
        return "flops_per_call" if self.duration_s is None else "flops_per_second"

    def flops_per_second(self, convention: FlopsConvention = "full") -> Tensor:
        """FLOPs, in `unit`, at the real-valued sizes K = λN: 0-d, with the gradient of every λ."""
        if not self.widths:
            return torch.tensor(self.fixed_flops(convention))
        lam = torch.stack([width.lam for width in self.widths.values()])
        exponents, coefficients = self._vectors(convention, lam)
        # Coefficients at full size, so that float32 does. No matrix product: autocast would round it.
        return ((lam.log() * exponents).sum(1).exp() * coefficients).sum()

    @torch.no_grad()
    def elasticities(self, convention: FlopsConvention = "full") -> Tensor:
        """∂ log(learnable FLOPs) / ∂ log K of each Width, (widths,), at the real-valued sizes K.

        What a size is answerable for: of a weight matrix each of its two sizes for all of it, so that they sum up to
        about 2.
        """
        lam = torch.stack([width.lam for width in self.widths.values()])
        exponents, coefficients = self._vectors(convention, lam)
        flops = (lam.log() * exponents).sum(1).exp() * coefficients
        return (flops[:, None] * exponents).sum(0) / flops[exponents.any(1)].sum()

    def terms(self, convention: FlopsConvention = "full") -> tuple[Tensor, Tensor]:
        """The FLOPs, in `unit`, as Σ c Π λ^e: exponents e (terms, widths) and coefficients c (terms,), in float64."""
        return self._vectors(convention, torch.zeros((), dtype=torch.float64))

    def flops_at(self, sizes: Mapping[str, int], convention: FlopsConvention = "full") -> float:
        """Exact FLOPs, in `unit`, at the given size of each Width. ValueError unless all are given."""
        return self._per_second(self._polynomial(convention).at(self._checked(sizes)))

    def flops_now(self, convention: FlopsConvention = "full") -> float:
        """FLOPs, in `unit`, at the sizes that evaluation uses and consolidation keeps."""
        return self.flops_at(self.sizes_now, convention)

    def flops_full_size(self, convention: FlopsConvention = "full") -> float:
        """FLOPs, in `unit`, of the backbone as it was given."""
        return self.flops_at(self.full_sizes, convention)

    def fixed_flops(self, convention: FlopsConvention = "full") -> float:
        """The part of the FLOPs, in `unit`, that no Width governs."""
        return self._per_second(self._polynomial(convention).constant_term)

    def learnable_flops(self, convention: FlopsConvention = "full") -> float:
        """The part of the FLOPs at full size, in `unit`, that the Widths govern."""
        return self.flops_full_size(convention) - self.fixed_flops(convention)

    def governed_shares(self) -> dict[str, float]:
        """For each Width, the share of all FLOPs (convention ``full``) at full size that would be 0 without it."""
        governed: dict[Any, Any] = dict.fromkeys(self.widths, 0)
        full = self.full_sizes
        for monomial, c in self._polynomial("full").terms.items():
            flops = Polynomial({monomial: c}).at(full)
            for name, _ in monomial:
                governed[name] += flops
        total = self._polynomial("full").at(full) or 1
        return {name: float(flops / total) for name, flops in governed.items()}

    def parameters(self, sizes: Mapping[str, Any]) -> Any:
        """Parameters at the given size of each Width: a number; for 0-d tensors a 0-d tensor, with their gradient."""
        if not sizes or not isinstance(next(iter(sizes.values())), Tensor):
            return self.parameters_at(sizes)
        lam = torch.stack([sizes[name] / full for name, full in self.full_sizes.items()])
        exponents, coefficients = self._vectors("parameters", lam)
        return ((lam.log() * exponents).sum(1).exp() * coefficients).sum()

    def fixed_parameters(self) -> float:
        """Parameters that no Width governs."""
        return float(self._params.constant_term)

    def parameters_at(self, sizes: Mapping[str, int]) -> int:
        """Exact number of parameters at the given size of each Width. ValueError unless all are given."""
        return round(self._params.at(self._checked(sizes)))

    def parameters_now(self) -> int:
        """Number of parameters that consolidation keeps."""
        return self.parameters_at(self.sizes_now)

    @property
    def full_sizes(self) -> dict[str, int]:
        """Size of each Width in the backbone as it was given."""
        return {name: width.full_size for name, width in self.widths.items()}

    @property
    def sizes_now(self) -> dict[str, int]:
        """Size of each Width that evaluation uses and consolidation keeps."""
        return {name: width.size for name, width in self.widths.items()}

    def table(self) -> list[dict[str, str | int | float]]:
        """One row an operation that has parameters or costs something, before (full size) and after (now).

        Keys: ``name``, ``kind``, ``role`` (see `role`), ``parameters_*``, ``<unit>_*`` (convention
        ``full``), ``<unit>_paper_*`` and ``share_*`` (of all FLOPs, ``full``), where ``*`` is ``before`` and
        ``after``.
        """
        rows: list[dict[str, str | int | float]] = []
        states = {"before": self.full_sizes, "after": self.sizes_now}
        totals = {state: self.flops_at(sizes) or 1.0 for state, sizes in states.items()}
        for row in self.rows:
            if not (row.params.terms or row.flops["full"].terms or row.flops["paper"].terms):
                continue
            cells: dict[str, str | int | float] = {"name": row.name, "kind": row.kind, "role": row.role}
            for state, sizes in states.items():
                full = self._per_second(row.flops["full"].at(sizes))
                cells[f"parameters_{state}"] = round(row.params.at(sizes))
                cells[f"{self.unit}_{state}"] = full
                cells[f"{self.unit}_paper_{state}"] = self._per_second(row.flops["paper"].at(sizes))
                cells[f"share_{state}"] = full / totals[state]
            rows.append(cells)
        return rows

    def _polynomial(self, convention: str) -> Polynomial:
        if convention not in self._flops:
            raise SettingError(f"convention {convention!r} is not one of {', '.join(self._flops)}")
        return self._flops[convention]

    def _per_second(self, flops: Any) -> float:
        return float(flops) if self.duration_s is None else float(flops) / self.duration_s

    def _checked(self, sizes: Mapping[str, int]) -> Mapping[Any, int]:
        if set(sizes) != set(self.widths):
            wrong = sorted(set(sizes) ^ set(self.widths))
            raise SettingError(f"sizes must name every Width once; missing or unknown: {', '.join(wrong)}")
        return sizes

    def _vectors(self, convention: str, like: Tensor) -> tuple[Tensor, Tensor]:
        """The polynomial in λ: exponents (monomials, widths) and coefficients at full size (monomials,)."""
        key = (convention, like.device, like.dtype)
        if key not in self._tensors:
            of_flops, full = convention != "parameters", self.full_sizes
            polynomial = self._polynomial(convention) if of_flops else self._params
            terms = sorted(polynomial.terms.items(), key=lambda term: sorted_powers(term[0]))
            exponents = [[dict(monomial).get(name, 0) for name in full] for monomial, _ in terms]
            values = [Polynomial({monomial: c}).at(full) for monomial, c in terms]
            coefficients = [self._per_second(value) if of_flops else float(value) for value in values]
            with torch.inference_mode(False):  # a search may want them later
                self._tensors[key] = (
                    torch.tensor(exponents, dtype=like.dtype, device=like.device).reshape(len(terms), len(full)),
                    torch.tensor(coefficients, dtype=like.dtype, device=like.device),
                )
        return self._tensors[key]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_tensors": {}}


def role(op: Op) -> str:
    """The paper's kind of layer: DCL (its output size is learned), ACL (its input size is), DCL+ACL, or FCL.

    A layer without weights across elements (a norm, an activation, a depthwise convolution) only follows.
    """
    produced = op.hidden or op.makes
    dynamic = any(_has_width(axis) for axis in produced)
    consumed = [axis for x in op.inputs for axis in x]
    adaptive = any(_has_width(axis) for axis in consumed) or (not produced and any(map(_has_width, op.hidden)))
    return "+".join(["DCL"] * dynamic + ["ACL"] * adaptive) or "FCL"


def _has_width(axis: Axis) -> bool:
    return any(not isinstance(factor, int) for factor in axis)
