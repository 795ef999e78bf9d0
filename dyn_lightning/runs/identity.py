"""What tells runs of the command line apart: configuration and data, without places on a machine."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch import Trainer

from dyn_lightning.runs.environment import typed
from dyn_lightning.runs.folder import CONFIG, run_folder

WANDB_REPORT = "WandbReport"


def config_file(trainer: Trainer) -> str | None:
    """Where ``fit`` wrote its whole configuration, as a shell takes it; every process has to ask."""
    path = (run_folder(trainer) / CONFIG).resolve()
    return typed([str(path)]) if path.is_file() else None


def file_of_checkpoint(checkpoint: str) -> str | None:
    """The configuration beside a checkpoint's folder, as :func:`config_file` names it; None where there is none."""
    path = Path(checkpoint).resolve().parent.parent / CONFIG
    return typed([str(path)]) if path.is_file() else None


def run_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a run's outcome, of its whole configuration: without places on a machine and what is only shown."""
    kept = copy.deepcopy({k: config[k] for k in ("model", "data", "phases", "clamp", "trainer") if k in config})
    kept["trainer"].pop("logger", None)
    if callbacks := kept["trainer"].get("callbacks"):
        kept["trainer"]["callbacks"] = [c for c in callbacks if _class(c) != WANDB_REPORT]
        for callback in kept["trainer"]["callbacks"]:
            (callback.get("init_args") or {}).pop("overwrite", None)
    ((kept.get("data") or {}).get("init_args") or {}).pop("data_root", None)
    return kept


def data_name(data: lightning.LightningDataModule) -> str:
    """What tells the data of runs apart: the data module's class, and the folder that it reads."""
    root = getattr(data, "data_root", None)
    return type(data).__name__ + ("" if root is None else f": {Path(root).resolve().name}")


def _class(entry: Mapping[str, Any]) -> str:
    """The name of a configuration's class, wherever it lives."""
    return str(entry.get("class_path")).rpartition(".")[2]
