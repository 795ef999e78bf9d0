"""Puts an artifact's folder in its place, as a whole or not at all; a link and the working directory stay."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dyn_lightning.artifact.files import ARCHITECTURE
from dyn_lightning.errors import UserError, file_error
from dyn_lightning.files import beside, remove_strays, sync


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A new empty folder beside ``folder``; when the block ends well it takes the place of ``folder``.

    A link is followed. The umask decides on rights.

    Raises:
        FileError: names the folder, if it cannot be written; whatever stood there still does.
    """
    target = Path(os.path.realpath(folder))
    temporary = beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_strays(target)
        temporary.mkdir()
        yield temporary
        replace_folder(temporary, target)
        with suppress(OSError):
            sync(target.parent)
    except UserError:
        raise
    except OSError as error:
        raise file_error(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(temporary: Path, folder: Path) -> None:
    """Move a complete folder to its place; what stands there steps aside first, as rename demands."""
    if not folder.exists():
        os.rename(temporary, folder)
        return
    if os.path.ismount(folder) or Path.cwd().is_relative_to(folder):
        _replace_files(temporary, folder)
        return
    aside = beside(folder)
    os.rename(folder, aside)
    try:
        os.rename(temporary, folder)
    except OSError:
        os.rename(aside, folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _replace_files(temporary: Path, folder: Path) -> None:
    """File by file, in a folder that has to stay; the one without which it is no artifact comes last."""
    new = {path.name for path in temporary.iterdir()}
    (folder / ARCHITECTURE).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.name not in new:
            path.unlink()
    for name in sorted(new, key=lambda name: name == ARCHITECTURE):
        os.replace(temporary / name, folder / name)
