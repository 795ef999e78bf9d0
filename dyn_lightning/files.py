"""Reading and writing files: whole or not at all, and what fails is said in one line with the file's name."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dyn_lightning.errors import FileError, UserError, file_error

_PART = ".part"
_STRAY_AFTER_S = 3600.0  # nobody writes to a file for that long without a change of its time


def check_absent(paths: Iterable[Path], mend: str) -> None:
    """See that nothing is overwritten.

    Args:
        paths: what would be written; a folder that is empty counts as absent.
        mend: what else to give, such as "--out FILE"; ``--overwrite`` is offered besides.

    Raises:
        UserError: names the first that is there.
    """
    for path in paths:
        if path.is_dir() and not any(path.iterdir()):
            continue
        if os.path.lexists(path):
            raise UserError(f"{path}: is there already. Give another {mend}, or --overwrite to replace it")


@contextmanager
def replacing(path: str | os.PathLike[str], *, durable: bool = True) -> Iterator[Path]:
    """A new empty file beside ``path``, to be written under its own name; at the end it takes the place of ``path``.

    Folders are made where absent. A link is followed. A file that was there keeps its mode; else the umask decides.

    Args:
        path: what is written.
        durable: be sure that it is on the disk before it takes the place, so that a power cut leaves either file.

    Raises:
        FileError: names the file, if it cannot be written; whatever stood there still does.
    """
    target = Path(os.path.realpath(path))
    with _named(path):
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if target.exists() and not target.is_file():  # /dev/stdout and its like
            yield target
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_strays(target)
        temporary = beside(target)
        try:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            mode = stat.S_IMODE((target if target.exists() else temporary).stat().st_mode)
            yield temporary
            temporary.chmod(mode)  # the writer may have put another file in its place
            if durable:
                sync(temporary)
            os.replace(temporary, target)
            if durable:
                sync(target.parent)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike[str], content: bytes, *, durable: bool = True) -> None:
    """Write a file, and the folders to it, so that it is there as a whole or not at all; see :func:`replacing`."""
    with replacing(path, durable=durable) as temporary, open(temporary, "wb") as file:
        file.write(content)


def append_line(path: str | os.PathLike[str], line: str) -> None:
    """Append a line to a file as a whole or not at all; several processes may do so at once.

    Where a line before was cut off, by a full disk or a power cut, this one begins on a line of its own.

    Raises:
        FileError: names the file, if it cannot be written; it is then as it was.
    """
    with _named(path), _locked(Path(path)) as descriptor:
        _append(descriptor, f"{line}\n".encode())


def replace_lines(path: str | os.PathLike[str], line: str, replaced: Callable[[str], bool]) -> None:
    """Append a line to a file of lines, and take out those that it replaces, both or neither.

    Other processes may append to the file at the same time, by :func:`append_line`. Lines that stay do so bit by bit.

    Args:
        path: of the file, a UTF-8 one; made where absent.
        line: the new one, which will be the last.
        replaced: whether a line that is there has to go.

    Raises:
        FileError: names the file, if it cannot be read or written; it is then as it was.
    """
    with _named(path), _locked(Path(path)) as descriptor:
        content = f"{line}\n".encode()
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            before = Path(path).read_bytes().splitlines(keepends=True)
            kept = b"".join(found for found in before if not replaced(found.decode("utf-8", "replace")))
            if kept != b"".join(before):
                write_atomically(path, (kept if kept.endswith(b"\n") or not kept else kept + b"\n") + content)
                return
        _append(descriptor, content)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The descriptor of a file for appending, which no other process of this package writes to meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
            if _is_at(descriptor, path):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has its name: while it was waited for, another may have taken its place."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False


def _append(descriptor: int, content: bytes) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):  # /dev/stdout and its like
        os.write(descriptor, content)
        return
    if found.st_size and os.pread(descriptor, 1, found.st_size - 1) != b"\n":
        content = b"\n" + content
    try:
        if (written := os.write(descriptor, content)) != len(content):
            written += os.write(descriptor, content[written:])  # says why there is no room
        if written != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, found.st_size)
        raise


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a UTF-8 file, with or without a byte-order mark.

    Raises:
        FileError: names the file, if it cannot be read or is no UTF-8.
    """
    with _named(path):
        content = Path(path).read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise FileError(f"{path}, line {line}: is no UTF-8 text. Save the file as UTF-8") from error


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value in a JSON file.

    Raises:
        FileError: if it cannot be read.
        UserError: names the file that is no JSON.
    """
    try:
        return json.loads(read_text(path))
    except FileError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no JSON ({error})") from error


def beside(target: Path) -> Path:
    """A name for a temporary file or folder next to a file or folder; it is hidden, and free."""
    return target.with_name(f".{target.name[:48]}.{secrets.token_hex(4)}{_PART}")


def remove_strays(target: Path) -> None:
    """Remove what killed writers of a file or folder left beside it (:func:`beside`), once it is an hour old."""
    prefix, oldest = f".{target.name[:48]}.", time.time() - _STRAY_AFTER_S
    with suppress(OSError):
        for entry in os.scandir(target.parent):
            if entry.name.startswith(prefix) and _is_token(entry.name[len(prefix) :]):
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < oldest:
                        folder = entry.is_dir(follow_symlinks=False)
                        shutil.rmtree(entry.path) if folder else os.unlink(entry.path)


def _is_token(rest: str) -> bool:
    token = rest.removesuffix(_PART)
    return rest.endswith(_PART) and len(token) == 8 and all(c in "0123456789abcdef" for c in token)


def sync(path: Path) -> None:
    """See that a file, or the entries of a folder, are on the disk, where the file system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS):  # not of a kind that can
            raise
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Keep other writers of the same file out until it is closed, where the system can."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except (ImportError, OSError):
        pass  # a single write of an appending descriptor is still whole


@contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Give what the system refuses the name of the file."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise file_error(error, path) from error


def csv_cell(value: object) -> object:
    """A cell of a CSV file that no spreadsheet takes for a formula: text that begins like one has a quote before it.

    OWASP, "CSV Injection". Numbers are left alone.

    >>> [csv_cell(v) for v in ("=cmd|' /C calc'!A0", "-3.5", "-x", -3.5, "a=b")]
    ["'=cmd|' /C calc'!A0", '-3.5', "'-x", -3.5, 'a=b']
    """
    if not (isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
