"""Keeps every λ in [λ_min, 1] and sets the granularity of widths."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import lightning
from lightning.pytorch import Callback

from dyn_lightning.checks import whole
from dyn_lightning.errors import SettingError
from dyn_lightning.widths.width import Width, check_lam_min


class LambdaClamp(Callback):
    """Brings λ back into [λ_min, 1] after every optimiser step (arXiv 2601.13704, "Procedure").

    The limits belong to the Widths; this callback writes them there when a fit starts, and applies them.

    Args:
        lam_min: least λ of every width, or by pattern of width names; the last pattern that matches holds.
            None leaves the widths' own (one unit).
        multiple_of: elements given up together, for every width or by pattern; None leaves the widths' own.

    Raises:
        SettingError: for λ_min outside (0, 1]; at the start of a fit, for a granularity that does not fit a
            width or a pattern that matches none.
    """

    def __init__(
        self,
        lam_min: float | dict[str, float] | None = None,
        multiple_of: int | dict[str, int] | None = None,
    ) -> None:
        self.lam_min = _by_pattern(lam_min)
        self.multiple_of = _by_pattern(multiple_of)
        for pattern, value in self.multiple_of.items():
            whole(1, **{f"multiple_of of {pattern!r}": value})
        for pattern, value in self.lam_min.items():
            check_lam_min(value, f"lam_min of {pattern!r}")

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        widths: Mapping[str, Width] = _widths(pl_module)
        # Also before a test or a consolidation: a checkpoint's sizes are in these units.
        for name, value in _resolve(self.multiple_of, widths, "multiple_of").items():
            widths[name].limit(multiple_of=value)
        for name, value in _resolve(self.lam_min, widths, "lam_min").items():
            widths[name].limit(lam_min=value)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        for width in _widths(pl_module).values():
            width.clamp_()


def _by_pattern(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    return dict(value) if isinstance(value, Mapping) else {"*": value}


def _resolve(patterns: Mapping[str, object], widths: Mapping[str, Width], argument: str) -> dict[str, Any]:
    """Width name → value, by the last pattern that matches it."""
    found: dict[str, object] = {}
    for pattern, value in patterns.items():
        names = [name for name in widths if fnmatchcase(name, pattern)]
        if not names and widths:
            raise SettingError(
                f"LambdaClamp: {argument}: the pattern {pattern!r} matches no width; there are {', '.join(widths)}"
            )
        found.update(dict.fromkeys(names, value))
    return found


def _widths(module: lightning.LightningModule) -> Mapping[str, Width]:
    widths: Mapping[str, Width] = getattr(module, "widths", {})
    return widths
