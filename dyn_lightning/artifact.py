"""A consolidated network on disk: weights as safetensors, its architecture as JSON. Nothing is pickled."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

import dyn_lightning
from dyn_lightning.features.spectral import MelFilterBank
from dyn_lightning.models.stacked_rnn import StackedRNN

FORMAT_VERSION = 1
WEIGHTS, ARCHITECTURE, REPORT = "model.safetensors", "architecture.json", "report.json"
EXPORTS = (".onnx", ".pt2")  # may lie beside them, and are replaced with them
# Taken from the network where the metadata lacks them.
FRAME_KEYS = ("sample_rate", "n_fft", "hop_length", "first_frame_centre_s")

_CHANNELS = ("in_channels", "out_channels", "groups")
_CONV = (*_CHANNELS, "kernel_size", "stride", "padding", "dilation", "padding_mode")
_BATCH_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
_STACK = ("input_size", "dropout", "batch_first", "bidirectional")
_RECURRENT = (*_STACK, "hidden_size", "num_layers", "bias")
# Constructor's arguments of each kind of layer that are attributes of the same name.
_KINDS: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    "Linear": (nn.Linear, ("in_features", "out_features")),
    "Conv1d": (nn.Conv1d, _CONV),
    "Conv2d": (nn.Conv2d, _CONV),
    "ConvTranspose1d": (nn.ConvTranspose1d, (*_CONV, "output_padding")),
    "ConvTranspose2d": (nn.ConvTranspose2d, (*_CONV, "output_padding")),
    "BatchNorm1d": (nn.BatchNorm1d, _BATCH_NORM),
    "BatchNorm2d": (nn.BatchNorm2d, _BATCH_NORM),
    "LayerNorm": (nn.LayerNorm, ("normalized_shape", "eps", "elementwise_affine")),
    "GroupNorm": (nn.GroupNorm, ("num_groups", "num_channels", "eps", "affine")),
    "PReLU": (nn.PReLU, ("num_parameters",)),
    "GRU": (nn.GRU, _RECURRENT),
    "LSTM": (nn.LSTM, (*_RECURRENT, "proj_size")),
    "StackedRNN": (StackedRNN, (*_STACK, "kind", "hidden_sizes")),
    "MelFilterBank": (MelFilterBank, ("n_freqs", "n_mels", "sample_rate", "f_min", "f_max")),
}
_BIAS_IS_A_TENSOR = ("Linear", "Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d", "LayerNorm")


class ArtifactError(ValueError):
    """An artifact cannot be written or read; the message names the file and the mend."""


def describe_layer(module: nn.Module) -> dict[str, Any]:
    """Kind, sizes and options of a layer as JSON values, from which :func:`build_layer` makes it again.

    Raises:
        ArtifactError: if layers of this class are not known.
    """
    kind = type(module).__name__
    if not _known(module):
        raise ArtifactError(f"{kind} cannot be described, only {', '.join(_KINDS)}")
    options = {name: getattr(module, name) for name in _KINDS[kind][1]}
    if kind in _BIAS_IS_A_TENSOR:
        options["bias"] = module.bias is not None
    if isinstance(module, StackedRNN):
        options["bias"] = bool(module.layers[0].bias)
    return {"kind": kind, "options": options}


def build_layer(description: Mapping[str, Any]) -> nn.Module:
    """The layer that :func:`describe_layer` described, with fresh weights.

    Raises:
        ArtifactError: for an unknown kind, or options that its class refuses.
    """
    kind = description.get("kind")
    if kind not in _KINDS:
        raise ArtifactError(
            f"unknown layer kind {kind!r} (known: {', '.join(_KINDS)}); load with the version that wrote it"
        )
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in description.get("options", {}).items()}
    try:
        return _KINDS[kind][0](**options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"a {kind} of the options {options} cannot be built ({error})") from error


def save_artifact(
    small: nn.Module,
    folder: str | os.PathLike[str],
    *,
    report: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any],
    backbone: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``model.safetensors``, ``architecture.json`` and ``report.json`` into a folder.

    The folder appears complete or not at all: it is written beside its place and moved there at the end. An
    artifact that stands there is replaced.

    Args:
        small: the plain network (what ``consolidate`` gave).
        folder: where to.
        report: what consolidation reported, as JSON values (``Report.as_dict()``).
        metadata: what inference needs, as JSON values: ``sample_rate``, ``n_fft``, ``hop_length``,
            ``first_frame_centre_s`` (taken from the network's attributes where absent), ``threshold``,
            ``threshold_on`` ("logit" or "probability"), ``labels``, ``min_speech_s``, ``min_silence_s``.
            ``versions`` is added.
        backbone: ``{"class_path": …, "init_args": {…}}`` from which the full-size network was made. None: the
            class of ``small`` and those arguments that it keeps as attributes, if this gives the network
            back; if not, :func:`load_artifact` has to be given the backbone.

    Raises:
        ArtifactError: if ``backbone`` does not give the network back, a value is not JSON, or the folder has
            other files in it.
    """
    folder = Path(folder)
    _check_replaceable(folder)
    document: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "backbone": None,
        "modules": {name: _describe(module) for name, module in _walk(small)},
        "metadata": _with_defaults(small, metadata),
    }
    cls = type(small)
    given = dict(backbone or _guess_backbone(small))
    try:
        skeleton = cls(**given.get("init_args", {}))
        _rebuild(skeleton, json.loads(_json(document))["modules"])
        _check_state(skeleton, small.state_dict())
        document["backbone"] = given
    except (TypeError, ValueError, RuntimeError) as error:
        if backbone is not None:
            raise ArtifactError(
                f"{folder}: {cls.__name__} made from backbone={given} does not give this network back "
                f"({error}); give the arguments that it was made from"
            ) from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        state = {k: v.detach().cpu().contiguous().clone() for k, v in small.state_dict().items()}
        safetensors.torch.save_file(state, temporary / WEIGHTS)
        (temporary / ARCHITECTURE).write_text(_json(document))
        (temporary / REPORT).write_text(_json(dict(report or {})))
        _replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def load_artifact(
    folder: str | os.PathLike[str],
    *,
    backbone: nn.Module | None = None,
    trusted: bool = False,
    device: str | torch.device = "cpu",
) -> tuple[nn.Module, dict[str, Any]]:
    """The network of an artifact, in evaluation mode, and its metadata.

    A class named by a file is imported only if it belongs to this package, or the file is trusted.

    Args:
        folder: what :func:`save_artifact` wrote.
        backbone: a fresh full-size instance of the network's class, where that is of another package; it is
            altered.
        trusted: import the class that the file names, whatever it is. This runs code of the author's choice.
        device: where the network is put.

    Raises:
        ArtifactError: if a file is missing, damaged, of another format version, or does not fit the network.
    """
    folder = Path(folder)
    document = _read_architecture(folder / ARCHITECTURE)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise ArtifactError(f"{weights}: no such file. Point to the whole folder that save_artifact wrote.")
    try:
        state = safetensors.torch.load_file(weights)
    except SafetensorError as error:
        raise ArtifactError(f"{weights}: is truncated or damaged ({error}). Copy the artifact again.") from error
    try:
        network = backbone if backbone is not None else _instantiate(document["backbone"], trusted)
        _rebuild(network, document["modules"])
    except ArtifactError as error:
        raise ArtifactError(f"{folder / ARCHITECTURE}: {error}") from error
    try:
        _check_state(network, state)
    except ArtifactError as error:
        raise ArtifactError(
            f"{weights}: does not fit {ARCHITECTURE} ({error}). Copy both from the same artifact."
        ) from error
    network.load_state_dict(state, assign=True)
    return network.to(device).eval(), document["metadata"]


def _known(module: nn.Module) -> bool:
    return type(module) in {cls for cls, _ in _KINDS.values()}


def _walk(module: nn.Module, name: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, nn.Module]]:
    """Every module once under its first name; known layers are not entered."""
    seen = set() if seen is None else seen
    if id(module) in seen:
        return
    seen.add(id(module))
    yield name, module
    if not _known(module):
        for child_name, child in module._modules.items():
            if child is not None:
                yield from _walk(child, f"{name}.{child_name}" if name else child_name, seen)


def _describe(module: nn.Module) -> dict[str, Any]:
    """A known layer is described; of others the class and what would tell another construction apart."""
    if _known(module):
        return describe_layer(module)
    description: dict[str, Any] = {"class": type(module).__name__}
    if module._modules:
        description["attributes"] = {
            k: v for k, v in vars(module).items() if _is_scalar(v) and not k.startswith("_") and k != "training"
        }
    else:
        description["repr"] = module.extra_repr()
    return description


def _is_scalar(value: Any) -> bool:
    return type(value) in (bool, int, float, str)


def _guess_backbone(small: nn.Module) -> dict[str, Any]:
    cls = type(small)
    kept = {name: getattr(small, name, None) for name in inspect.signature(cls).parameters}
    init_args = {name: value for name, value in kept.items() if _is_scalar(value)}
    return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": init_args}


def _rebuild(network: nn.Module, descriptions: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace a full-size network's layers by those described; whatever is not replaced must be the same."""
    modules = dict(_walk(network))
    if modules.keys() != descriptions.keys():
        odd = sorted(modules.keys() ^ descriptions.keys())
        raise ArtifactError(f"the backbone has other modules than the artifact: {', '.join(odd)}. {_MEND}")
    replaced: dict[int, nn.Module] = {}
    for name, description in descriptions.items():
        module = modules[name]
        if "kind" in description:
            replaced[id(module)] = build_layer(description)
            continue
        found = _describe(module)
        if found != description:
            raise ArtifactError(f"{name or 'the backbone'} is {found}, was {dict(description)}. {_MEND}")
    for parent in list(network.modules()):
        for child_name, child in parent._modules.items():
            if id(child) in replaced:
                parent._modules[child_name] = replaced[id(child)]


_MEND = "Give the arguments that the network was made from (init_args, or backbone=)"


def _check_state(network: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    expected = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    found = {k: tuple(v.shape) for k, v in state.items()}
    odd = [k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k)]
    if odd:
        lines = (f"{k}: expected {expected.get(k)}, found {found.get(k)}" for k in sorted(odd)[:5])
        raise ArtifactError("; ".join(lines))


def _instantiate(entry: Mapping[str, Any] | None, trusted: bool) -> nn.Module:
    if entry is None:
        raise ArtifactError("does not say how to make the backbone. Pass backbone=, a fresh full-size network")
    path = str(entry.get("class_path"))
    module, _, name = path.rpartition(".")
    if not (trusted or module.startswith(f"{dyn_lightning.__name__}.")):
        raise ArtifactError(
            f"names the class {path}, which is not of this package and is not imported. Pass backbone=, "
            "a fresh full-size network of your own, or trusted=True if you trust the file's author"
        )
    try:
        cls = getattr(importlib.import_module(module), name)
        if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
            raise TypeError("it is no nn.Module")
        network: nn.Module = cls(**entry.get("init_args", {}))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ArtifactError(f"the backbone {path} cannot be made ({error}). Pass backbone=") from error
    return network


def _read_architecture(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file. Point to the whole folder that save_artifact wrote.")
    try:
        document = json.loads(path.read_text())
    except ValueError as error:
        raise ArtifactError(f"{path}: is no JSON ({error}). Copy the artifact again.") from error
    version = document.get("format_version") if isinstance(document, dict) else None
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{path}: has format version {version}, this package reads {FORMAT_VERSION}. Load it with the "
            "version of dyn_lightning that wrote it, and save it again."
        )
    missing = {"backbone", "modules", "metadata"} - document.keys()
    if missing:
        raise ArtifactError(f"{path}: lacks {', '.join(sorted(missing))}. Copy the artifact again.")
    return document


def _with_defaults(small: nn.Module, metadata: Mapping[str, Any]) -> dict[str, Any]:
    frames = {key: getattr(small, key) for key in FRAME_KEYS if hasattr(small, key)}
    versions = {"dyn_lightning": dyn_lightning.__version__, "torch": str(torch.__version__)}
    return {**frames, "versions": versions, **metadata}


def _json(value: Any) -> str:
    try:
        return json.dumps(value, indent=1) + "\n"
    except TypeError as error:
        raise ArtifactError(f"metadata, report and init_args must be JSON values ({error})") from error


def _check_replaceable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(f"{folder}: is a file. Choose another folder.")
    if folder.is_dir():
        ours = {WEIGHTS, ARCHITECTURE, REPORT}
        other = sorted(p.name for p in folder.iterdir() if p.name not in ours and p.suffix not in EXPORTS)
        if other:
            raise ArtifactError(f"{folder}: holds other files ({', '.join(other[:3])}). Choose a new folder.")


def _replace(temporary: Path, folder: Path) -> None:
    """Move a complete folder to its place; what stands there steps aside first, as rename demands."""
    if not folder.exists():
        os.rename(temporary, folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent)) / folder.name
    os.rename(folder, aside)
    try:
        os.rename(temporary, folder)
    except OSError:
        os.rename(aside, folder)
        aside.parent.rmdir()
        raise
    shutil.rmtree(aside.parent, ignore_errors=True)
