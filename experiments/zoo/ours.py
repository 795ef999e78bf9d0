"""dyn_lightning on a backbone: every size that can be learned at half its width."""

from __future__ import annotations

from typing import Any

from torch import nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from tests.zoo.masking import outputs, relative_difference

AT_FULL_SIZE, CONSOLIDATED = 1e-6, 1e-5


def halved(backbone: nn.Module, example: Any, lam: float = 0.5) -> tuple[nn.Module, dict[str, Any]]:
    """The consolidated network with each λ at ``lam``, and what was found on the way.

    Raises what dynamize and consolidate raise, and ArithmeticError where the dynamic network differs from the backbone
    at full size or from the consolidated one.
    """
    dynamic = dynamize(backbone, example)
    difference = relative_difference(outputs(dynamic, example), outputs(backbone, example))
    if difference > AT_FULL_SIZE:
        raise ArithmeticError(f"at λ = 1 the output differs by {difference:.1e} of its largest value")
    for width in dynamic.widths.values():
        width.set_lam(max(lam, width.lam_min))
    small, report = consolidate(dynamic)
    difference = relative_difference(outputs(small, example), outputs(dynamic, example))
    if difference > CONSOLIDATED:
        raise ArithmeticError(f"consolidated, the output differs by {difference:.1e} of its largest value")
    facts = {
        "sizes": len(dynamic.widths),
        "fixed": dict(dynamic.fixed_reasons),
        "consolidated_difference": difference,
        "complexity_share": report.flops / report.flops_before,
        "uncounted": list(dynamic.complexity.uncounted),
    }
    return small, facts
