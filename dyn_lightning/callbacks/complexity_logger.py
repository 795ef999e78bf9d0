"""Logs what the network costs, and every learned size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback

from dyn_lightning.module import DynamicModule

_Rows = dict[str, list[float]]


class ComplexityLogger(Callback):
    """Logs FLOPs, parameters and widths whenever the trainer writes its logs.

    Keys: ``complexity/<unit>`` and ``complexity/<unit>_paper`` (at the kept sizes; the unit is
    ``flops_per_second`` of audio, or ``flops_per_call``), ``complexity/parameters``, and for each width
    ``width/<name>/lam`` (λ), ``width/<name>/k`` (K = λN) and ``width/<name>/size`` (kept elements).

    Attributes:
        history: key → values, with their ``step``: before the first step, whenever logs were written, and after the
            last one; part of checkpoints, so that it survives a resume.
    """

    def __init__(self) -> None:
        self.history: _Rows = {}
        self._costs: tuple[tuple[int, ...], dict[str, float]] | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if isinstance(pl_module, DynamicModule):
            self._keep(trainer.global_step, self.measure(pl_module))

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: object,
        batch_idx: int,
    ) -> None:
        # Only where logs are written: in between nobody would see the values.
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not isinstance(pl_module, DynamicModule) or trainer.global_step % every:
            return
        row = self.measure(pl_module)
        pl_module.log_dict(row, batch_size=1)
        self._keep(trainer.global_step, row)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if isinstance(pl_module, DynamicModule):
            self._keep(trainer.global_step, self.measure(pl_module))

    def _keep(self, step: int, row: Mapping[str, float]) -> None:
        if self.history.get("step", [-1])[-1] != step:
            for key, value in {"step": float(step), **row}.items():
                self.history.setdefault(key, []).append(value)

    def measure(self, module: DynamicModule) -> dict[str, float]:
        """Key → value, now."""
        widths = module.widths
        sizes = {name: width.size for name, width in widths.items()}
        key = tuple(sizes.values())
        if self._costs is None or self._costs[0] != key:
            complexity, unit = module.complexity, module.complexity.unit
            costs = {
                f"complexity/{unit}": complexity.flops_at(sizes),
                f"complexity/{unit}_paper": complexity.flops_at(sizes, "paper"),
                "complexity/parameters": float(complexity.parameters_at(sizes)),
            }
            self._costs = (key, costs)
        row = dict(self._costs[1])
        if widths:
            # One transfer for all widths together.
            lams = torch.stack([width.lam.detach() for width in widths.values()]).tolist()
            for (name, width), lam in zip(widths.items(), lams, strict=True):
                row[f"width/{name}/lam"] = lam
                row[f"width/{name}/k"] = lam * width.full_size
                row[f"width/{name}/size"] = float(sizes[name])
        return row

    def state_dict(self) -> dict[str, object]:
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = state_dict["history"]
