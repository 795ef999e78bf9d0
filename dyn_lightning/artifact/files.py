"""The files of an artifact's folder: their names and their form."""

from __future__ import annotations

import errno
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from dyn_lightning.artifact.architecture_document import check_architecture
from dyn_lightning.errors import ArtifactError, UserError, file_error
from dyn_lightning.files import read_json, replacing

FORMAT_VERSION = 1
WEIGHTS, ARCHITECTURE, REPORT, CARD = "model.safetensors", "architecture.json", "report.json", "README.md"
PROGRAM, CONSTANTS, CONFIG = "program.json", "program.safetensors", "config.json"
FILES = {WEIGHTS, ARCHITECTURE, REPORT, CARD, PROGRAM, CONSTANTS, CONFIG}
INT8 = "model.int8.safetensors"
_LARGEST_JSON = 2**28
BESIDE = (".onnx", ".pt2", INT8)  # may lie beside them, and are replaced with them


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors of any device as safetensors; those that share memory are written each."""
    copies = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    with replacing(path) as temporary:
        try:
            safetensors.torch.save_file(copies, temporary)
        except SafetensorError as error:  # which has no number: the system's is in its text
            code = re.search(r"os error (\d+)|code: (\d+)", str(error))
            raise OSError(int(code[1] or code[2]) if code else errno.EIO, str(error)) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a file that :func:`save_tensors` wrote. ArtifactError names one that is missing or damaged."""
    _require_file(path)
    try:
        return safetensors.torch.load_file(path)
    except OSError as error:
        raise ArtifactError(str(file_error(error, path))) from error
    except (SafetensorError, RuntimeError, ValueError, KeyError, AttributeError, TypeError, OverflowError) as error:
        raise ArtifactError(f"{path}: is truncated or damaged ({error}). Copy the artifact again.") from error


def read_architecture(path: Path) -> dict[str, Any]:
    """Content of ``architecture.json``, checked as far as its version, its keys and the types of their values."""
    document = read_document(path)
    version = document.get("format_version") if isinstance(document, dict) else None
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{path}: has format version {version}, this package reads {FORMAT_VERSION}. Load it with the "
            "version of dyn_lightning that wrote it, and save it again."
        )
    missing = {"backbone", "modules", "metadata"} - document.keys()
    if missing:
        raise ArtifactError(f"{path}: lacks {', '.join(sorted(missing))}. Copy the artifact again.")
    metadata = document["metadata"]
    threshold = metadata.get("threshold") if isinstance(metadata, dict) else None
    if isinstance(threshold, float) and not math.isfinite(threshold):
        raise ArtifactError(f"{path}: threshold is {threshold}, which decides nothing. Write the artifact again.")
    try:
        check_architecture(document)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}. Copy the artifact again.") from error
    return dict(document)


def read_document(path: Path) -> Any:
    """The JSON value in one of an artifact's files. ArtifactError names a file that is missing or damaged."""
    _require_file(path)
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ArtifactError(f"{path}: is larger than {_LARGEST_JSON // 2**20} MiB. Copy the artifact again.")
        return read_json(path)
    except ArtifactError:
        raise
    except UserError as error:
        raise ArtifactError(f"{error}. Copy the artifact again.") from error


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file. Point to a whole artifact, such as runs/csv/version_0/artifact.")


def to_json(value: Any) -> str:
    """JSON for people to read. ArtifactError says that a value is none."""
    try:
        return json.dumps(value, indent=1) + "\n"
    except TypeError as error:
        raise ArtifactError(f"metadata, report and init_args must be JSON values ({error})") from error


def check_replaceable(folder: Path) -> None:
    """See that a folder is absent, empty or an artifact; ArtifactError names what else lies in it."""
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(f"{folder}: is a file. Choose another folder.")
    if folder.is_dir():
        found = sorted(p.name for p in folder.iterdir())
        other = [name for name in found if name not in FILES and not name.endswith(BESIDE)]
        if found and ARCHITECTURE not in found:  # a README.md alone is none of ours
            other = other or found
        if other:
            raise ArtifactError(f"{folder}: holds other files ({', '.join(other[:3])}). Choose a new folder.")
