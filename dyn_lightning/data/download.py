"""Downloading the public corpora: resumable, checked, and in place only when whole.

``python -m dyn_lightning.data.download DATA_ROOT train-clean-100 test-clean esc50`` fetches three of them.
"""

import argparse
import gzip
import hashlib
import http.client
import os
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from torchaudio.datasets import librispeech, vctk

from dyn_lightning.errors import FileError, UserError, file_error, in_one_line

_CHUNK_BYTES = 1 << 20
_FINAL = (400, 401, 403, 404, 410, 451)  # what a server says for good
_ESC50_URL = "https://github.com/karolpiczak/ESC-50/archive/master.zip"


class DownloadError(UserError):
    """A transfer, a checksum or an archive failed; the message names the file and the mend."""


@dataclass(frozen=True)
class Archive:
    """Where a corpus comes from and where it goes.

    Attributes:
        url: of a .tar.gz or .zip file.
        sha256: its checksum; None where the publisher's archive has no stable one.
        member: the folder in the archive that is wanted.
        destination: what this folder becomes, relative to the data root.
    """

    url: str
    sha256: str | None
    member: str
    destination: str

    @property
    def file_name(self) -> str:
        """Name of the archive file."""
        return self.url.rsplit("/", 1)[1]


def archives() -> dict[str, Archive]:
    """All corpora by name: the LibriSpeech subsets, "vctk" and "esc50".

    Addresses and checksums of the first two are those that torchaudio publishes. The archive of ESC-50 is
    made by GitHub when asked for and has no stable checksum; it is guarded by the checksums inside it.
    """
    table = {"esc50": Archive(_ESC50_URL, None, "ESC-50-master", "ESC-50")}
    for url, sha256 in librispeech._CHECKSUMS.items():
        subset = url.rsplit("/", 1)[1].removesuffix(".tar.gz")
        folder = f"LibriSpeech/{subset}"
        table[subset] = Archive(url, sha256, folder, folder)
    table["vctk"] = Archive(vctk.URL, vctk._CHECKSUMS[vctk.URL], ".", "VCTK-Corpus-0.92")
    return table


def download(archive: Archive, data_root: str | os.PathLike[str], keep_archive: bool = False) -> Path:
    """Fetches and unpacks a corpus, unless its folder is there already.

    Args:
        archive: what to fetch, one of :func:`archives`.
        data_root: the folder that holds the corpora; made where absent.
        keep_archive: leave the archive file there afterwards.

    Returns:
        The folder of the corpus.

    Raises:
        DownloadError: see :func:`fetch` and :func:`unpack`.
    """
    root = Path(data_root)
    destination = root / archive.destination
    if not destination.exists():
        file = fetch(archive.url, root / archive.file_name, archive.sha256)
        unpack(file, archive.member, destination)
        if not keep_archive:
            file.unlink()
    return destination


def fetch(
    url: str,
    target: Path,
    sha256: str | None = None,
    timeout_s: float = 60.0,
    attempts: int = 5,
    wait: Callable[[float], None] = time.sleep,
) -> Path:
    """Downloads a file to ``target``, by way of ``target`` + ".part".

    A part left by an interrupted transfer is continued where the server allows it, unless the file there was changed
    meanwhile. The target appears only when the file is complete and its checksum right.

    Args:
        url: what to fetch.
        target: where to; a file that is there already is checked, not fetched again.
        sha256: checksum in hexadecimal, or None for no check.
        timeout_s: longest silence of the server.
        attempts: how often a transfer that fails, and brings nothing new, is tried; the waits between double from 1 s.
        wait: waits so many seconds.

    Raises:
        DownloadError: the server refuses or stops early (the part is kept: call again), or the checksum is
            wrong (the part is removed).
        FileError: the part cannot be written.
    """
    if target.exists():
        _require_checksum(target, sha256, url)
        return target
    part = target.with_name(target.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.open("ab").close()
    except OSError as error:
        raise file_error(error, part) from error
    left = attempts
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _transfer(url, part, timeout_s)
            break
        except (OSError, http.client.HTTPException) as error:
            kept = part.stat().st_size if part.exists() else 0
            if isinstance(error, FileError):
                raise
            left = attempts if kept > before and attempts > 1 else left - 1
            if left < 1 or (isinstance(error, urllib.error.HTTPError) and error.code in _FINAL):
                if not kept:
                    part.unlink(missing_ok=True)
                raise DownloadError(
                    f"{url}: transfer failed ({error}); {kept} bytes are kept in {part}. Run it again to continue."
                ) from error
            wait(2.0 ** (attempts - left - 1) if left < attempts else 1.0)
    _require_checksum(part, sha256, url)
    os.replace(part, target)
    _mark_of(part).unlink(missing_ok=True)
    return target


def _mark_of(part: Path) -> Path:
    """Where it is kept which version of the file a part is of, as the server tells it."""
    return part.with_name(part.name + ".etag")


def _transfer(url: str, part: Path, timeout_s: float) -> None:
    """Appends what is missing of a file to its part.

    Raises:
        OSError: if that is not all of it.
        FileError: if the part cannot be written.
    """
    offset, mark = part.stat().st_size if part.exists() else 0, _mark_of(part)
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    if offset and mark.is_file():
        headers["If-Range"] = mark.read_text(encoding="latin-1")  # else the whole file, as it is by now
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as error:
        total = (error.headers.get("Content-Range") or "").removeprefix("bytes */")
        error.close()
        if error.code == 416 and total == str(offset):  # nothing is missing
            return
        if error.code == 416:  # the file on the server is another one by now
            part.unlink()
        raise
    with response:
        goes_on = response.status == 206
        begin = (response.headers.get("Content-Range") or f"bytes {offset}-").removeprefix("bytes ").split("-")[0]
        if goes_on and begin != str(offset):
            raise OSError(f"the server sent bytes from {begin} on, not from {offset}")
        announced = response.headers.get("Content-Length")
        expected = None if announced is None else (offset if goes_on else 0) + int(announced)
        size = _copy(response, _opened(part, response.headers.get("ETag"), goes_on), part)
    if expected is not None and size != expected:
        raise OSError(f"{size} of {expected} bytes came")


def _opened(part: Path, etag: str | None, goes_on: bool) -> BinaryIO:
    """The part, to be gone on with or begun anew, once its version is kept; FileError of the disk."""
    mark = _mark_of(part)
    try:
        if not goes_on:
            mark.unlink(missing_ok=True)
        if etag is not None and not etag.startswith("W/"):
            mark.write_text(etag, encoding="latin-1")
        return part.open("ab" if goes_on else "wb")
    except OSError as error:
        raise file_error(error, part) from error


def _copy(response: http.client.HTTPResponse, file: BinaryIO, part: Path) -> int:
    """Append all that comes, and give the size; OSError of the network, FileError of the disk."""
    try:
        while chunk := response.read1(_CHUNK_BYTES):
            try:
                file.write(chunk)
            except OSError as error:
                raise file_error(error, part) from error
        return file.tell()
    finally:
        try:
            file.close()
        except OSError as error:
            raise file_error(error, part) from error


def _require_checksum(path: Path, sha256: str | None, url: str) -> None:
    if sha256 is None:
        return
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != sha256.lower():
        path.unlink()
        raise DownloadError(
            f"{path}: checksum is {digest.hexdigest()}, not {sha256}; the file was removed. "
            f"Fetch {url} again; if it stays so, the file at the source was changed."
        )


def unpack(archive: Path, member: str, destination: Path) -> None:
    """Unpacks one folder of an archive; ``destination`` appears only when everything is unpacked.

    Args:
        archive: a .tar.gz, .tar or .zip file.
        member: the folder wanted, "." for the top level.
        destination: what it becomes; must not exist.

    Raises:
        DownloadError: the archive is damaged, has an entry that leads out of it, or has no such folder, or
            ``destination`` exists.
    """
    if destination.exists():
        raise DownloadError(f"{destination}: exists already. Remove it to unpack {archive.name} again.")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=destination.parent) as scratch:
        content = Path(scratch) / "content"
        try:
            if archive.suffix == ".zip":
                _unpack_zip(archive, content)
            else:
                with tarfile.open(archive) as tar:
                    tar.extractall(content, filter="data")
        except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise DownloadError(f"{archive}: cannot be unpacked ({error}). Remove it and fetch it again.") from error
        except OSError as error:
            raise file_error(error, destination) from error
        wanted = content / member
        if not wanted.is_dir():
            raise DownloadError(f"{archive}: holds no folder {member!r}. Check that it is the official archive.")
        os.replace(wanted, destination)


def _unpack_zip(archive: Path, folder: Path) -> None:
    root = folder.resolve()
    with zipfile.ZipFile(archive) as file:
        for name in file.namelist():
            if not (root / name).resolve().is_relative_to(root):
                raise zipfile.BadZipFile(f"entry {name!r} leads out of the archive")
        file.extractall(folder)


def main(arguments: list[str] | None = None) -> None:
    """Command line: a data root, and names of corpora."""
    table = archives()
    parser = argparse.ArgumentParser(prog="python -m dyn_lightning.data.download", description=__doc__)
    parser.add_argument("data_root", help="folder that holds the corpora")
    parser.add_argument("names", nargs="+", choices=sorted(table), help="what to fetch")
    parser.add_argument("--keep-archive", action="store_true", help="leave the archive file there")
    options = parser.parse_args(arguments)
    for name in options.names:
        print(in_one_line(partial(download, table[name], options.data_root, options.keep_archive)))


if __name__ == "__main__":
    main()
