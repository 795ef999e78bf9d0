"""What tells runs of the command line apart: configuration and data, without places on a machine."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch import Trainer

from dyn_lightning.report.environment import typed

WANDB_REPORT = "dyn_lightning.report.wandb_report.WandbReport"


def config_file(trainer: Trainer) -> str | None:
    """Where ``fit`` wrote its whole configuration, as a shell takes it; None where other runs write there too."""
    folder, logger = trainer.log_dir, trainer.logger
    if folder is None or logger is None or logger.save_dir is None or Path(folder) == Path(logger.save_dir):
        return None
    path = Path(folder, "config.yaml").resolve()
    return typed([str(path)]) if path.is_file() else None


def run_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a run's outcome, of its whole configuration: without places on a machine and what is only shown."""
    kept = copy.deepcopy({k: config[k] for k in ("model", "data", "phases", "clamp", "trainer") if k in config})
    kept["trainer"].pop("logger", None)
    if callbacks := kept["trainer"].get("callbacks"):
        kept["trainer"]["callbacks"] = [c for c in callbacks if c.get("class_path") != WANDB_REPORT]
    ((kept.get("data") or {}).get("init_args") or {}).pop("data_root", None)
    return kept


def data_name(data: lightning.LightningDataModule) -> str:
    """What tells the data of runs apart: the data module's class, and the folder that it reads."""
    root = getattr(data, "data_root", None)
    return type(data).__name__ + ("" if root is None else f": {Path(root).resolve().name}")
