"""Checkpoint files: written as a whole or not at all, and named when they cannot be read.

Lightning writes a checkpoint into the folder of temporary files and moves it from there: where that is another file
system, or the disk is full, the file that it replaces is gone and half of the new one is in its place.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import lightning
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.plugins.io.wrapper import _WrappingCheckpointIO

from dyn_lightning.errors import FileError, UserError, file_error
from dyn_lightning.files import replacing

_UNPACKED_BYTES = 2**26  # a checkpoint may grow to this, or to twice its file's size, when it is read


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a local checkpoint beside its place, and puts it there once it is on the disk.

    Files elsewhere (``s3://…``) are left to Lightning.
    """

    def save_checkpoint(self, checkpoint: dict[str, object], path: Any, storage_options: object = None) -> None:
        """Write a checkpoint. FileError names one that cannot be; the one that it was to replace is still there."""
        if storage_options is not None or _is_remote(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        try:
            with replacing(path) as temporary, open(temporary, "wb") as file:
                _save(checkpoint, file)
        except FileError as error:
            raise FileError(f"{error}. The checkpoint before it is whole: resume with --ckpt_path") from error

    def load_checkpoint(
        self, path: Any, map_location: Any = lambda storage, _: storage, weights_only: bool | None = None
    ) -> dict[str, object]:
        """The content of a checkpoint. UserError names a file that is none, or is damaged."""
        if _is_remote(path):
            return super().load_checkpoint(path, map_location, weights_only)
        return read_checkpoint(path, map_location=map_location, weights_only=weights_only is not False)


def write_whole_checkpoints(trainer: lightning.Trainer) -> None:
    """Have a trainer write its checkpoints by :class:`WholeCheckpointIO`, unless it was given another way."""
    strategy: Any = trainer.strategy
    current = strategy.checkpoint_io
    if type(current) is TorchCheckpointIO:
        strategy.checkpoint_io = WholeCheckpointIO()
    elif isinstance(current, _WrappingCheckpointIO) and type(current.checkpoint_io) is TorchCheckpointIO:
        current._checkpoint_io = WholeCheckpointIO()  # what it wraps is the default


def read_checkpoint(
    path: str | Path, *, map_location: Any = "cpu", weights_only: bool = True, mmap: bool = False
) -> dict[str, Any]:
    """The content of a checkpoint.

    Args:
        path: the file.
        map_location: as ``torch.load`` has it.
        weights_only: load tensors and primitives alone; anything else in a checkpoint can run code.
        mmap: leave weights in the file until they are used.

    Raises:
        FileError: names the file, if it cannot be read.
        UserError: names the file that is no checkpoint, is damaged, or would unpack to far more than it is.
    """
    try:
        _check_unpacked_size(path)
        content = torch.load(path, map_location=map_location, weights_only=weights_only, mmap=mmap)
    except UserError:
        raise
    except OSError as error:
        raise file_error(error, path) from error
    except _DAMAGE as error:
        if found := _FOREIGN.search(str(error)):
            raise UserError(
                f"{path}: holds more than tensors and plain values ({found[1]}). If you trust whoever made it, "
                "--weights_only false reads it, which can run code of theirs"
            ) from error
        raise UserError(f"{path}: is no checkpoint, or a damaged one. Give another") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, no checkpoint. Give the .ckpt file of a run")
    return content


# What torch.load raises of files that were cut off or never were its own.
_DAMAGE = (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, AssertionError)
_DAMAGE += (ImportError, MemoryError, RecursionError, OverflowError)  # type: ignore[assignment]
_DAMAGE += (zipfile.BadZipFile, NotImplementedError, pickle.UnpicklingError)  # type: ignore[assignment]
_FOREIGN = re.compile(r"(?:GLOBAL|Unsupported class|Unsupported global:) `?([\w.]+\.\w+)")


def _check_unpacked_size(path: str | Path) -> None:
    """Raises UserError where a zip file declares far more than its own size: torch itself never compresses."""
    size = Path(path).stat().st_size
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > max(_UNPACKED_BYTES, 2 * size):
        raise UserError(
            f"{path}: {size / 1e6:.0f} MB would unpack to {unpacked / 1e9:.1f} GB, as no checkpoint does. Give another"
        )


def _save(checkpoint: dict[str, object], file: Any) -> None:
    """``torch.save``, whose own errors hide those of the system."""
    refused: list[OSError] = []

    def write(content: object) -> int:
        try:
            written: int = plain(content)
        except OSError as error:
            refused.append(error)
            raise
        return written

    plain: Callable[[object], int] = file.write
    try:
        torch.save(checkpoint, cast(IO[bytes], _Writer(write, file.flush)))
    except Exception:
        if refused:
            raise refused[0] from None
        raise


class _Writer:
    """The part of a file that ``torch.save`` uses."""

    def __init__(self, write: Callable[[object], int], flush: Callable[[], None]) -> None:
        self.write, self.flush = write, flush


def _is_remote(path: object) -> bool:
    return "://" in str(path)
