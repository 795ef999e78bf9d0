"""The folder of a run: one each, whatever the logger."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import lightning
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

ARTIFACT, CHECKPOINTS, CONFIG = "artifact", "checkpoints", "config.yaml"
_METRICS = "metrics.csv"
_numbered: WeakKeyDictionary[lightning.Trainer, Path] = WeakKeyDictionary()


def folder_of(trainer: lightning.Trainer) -> Path | None:
    """Where the files of a trainer's run belong by its first logger: where Lightning puts its checkpoints.

    None where there is no logger, or one that has not given its run a name yet.
    """
    if not trainer.loggers:
        return None
    logger: Any = trainer.loggers[0]
    if isinstance(logger, (CSVLogger, TensorBoardLogger)):
        return Path(logger.log_dir)
    version = logger.version
    if version is None:
        return None
    version = version if isinstance(version, str) else f"version_{version}"
    return Path(logger.save_dir or trainer.default_root_dir, str(logger.name), version)


def known_folder(trainer: lightning.Trainer) -> Path | None:
    """The folder of a trainer's run as far as this process knows it, without a word to the others."""
    return folder_of(trainer) or _numbered.get(trainer)


def run_folder(trainer: lightning.Trainer) -> Path:
    """The folder of a trainer's run, from its ``setup`` on; every process has to ask.

    ``save_dir/name/version`` of the first logger (of W&B: ``save_dir/project/run``); without one, the first
    ``default_root_dir/runs/version_N`` that is free, which is made then.
    """
    folder = folder_of(trainer)
    if folder is None:
        if trainer not in _numbered:
            root = Path(trainer.default_root_dir, "runs")
            made = str(make_numbered(root)) if trainer.is_global_zero else ""
            _numbered[trainer] = Path(trainer.strategy.broadcast(made))
        return _numbered[trainer]
    return Path(trainer.strategy.broadcast(str(folder)))


def make_numbered(root: Path) -> Path:
    """Make the first ``version_N`` in a folder that is not there yet; two processes never get the same."""
    root.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        try:
            (folder := root / f"version_{number}").mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def reserve(trainer: lightning.Trainer) -> None:
    """Make the folder of a logger that numbers its runs, so that a run which begins meanwhile takes another."""
    logger: object = trainer.loggers[0] if trainer.loggers else None
    if not isinstance(logger, (CSVLogger, TensorBoardLogger)) or logger._version is not None:
        return
    while True:
        try:
            Path(logger.log_dir).mkdir(parents=True)
        except FileExistsError:
            logger._version = None  # asks the folder again
        else:
            return


def run_in(folder: Path) -> list[str]:
    """Names of what a former run left in a folder."""
    found = [name for name in (CONFIG, _METRICS, ARTIFACT) if (folder / name).exists()]
    return found + [f"{CHECKPOINTS}/{path.name}" for path in sorted((folder / CHECKPOINTS).glob("*.ckpt"))]


def discard_unused(folder: Path) -> bool:
    """Remove the folder of a run that ended before it left a checkpoint or an artifact. Whether it was removed."""
    if not folder.is_dir() or any(folder.rglob("*.ckpt")) or (folder / ARTIFACT).exists():
        return False
    if folder.resolve() in (Path.cwd(), *Path.cwd().parents):
        return False
    shutil.rmtree(folder)
    return True
