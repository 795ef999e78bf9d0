"""The artifact: a network written into a folder, and read back without unpickling."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import dyn_lightning
from dyn_lightning.artifact.architecture import (
    can_instantiate,
    check_constants,
    check_state,
    describe,
    guess_backbone,
    instantiate,
    learned_sizes,
    rebuild,
    walk,
)
from dyn_lightning.artifact.contract import NAMES, contract_of
from dyn_lightning.artifact.exported import EXPORTS, in_float32, numbers_in_float32, write_exports
from dyn_lightning.artifact.files import (
    ARCHITECTURE,
    CARD,
    CONSTANTS,
    FORMAT_VERSION,
    INT8,
    PROGRAM,
    REPORT,
    WEIGHTS,
    check_replaceable,
    load_tensors,
    read_architecture,
    read_document,
    save_tensors,
    to_json,
)
from dyn_lightning.artifact.model_card import model_card
from dyn_lightning.artifact.replacement import new_folder
from dyn_lightning.errors import ArtifactError
from dyn_lightning.exports.check import ExportError
from dyn_lightning.exports.program.bounds import Construction
from dyn_lightning.exports.program.traced import Program, describe_program
from dyn_lightning.exports.quantize import QuantizationError, from_int8_state
from dyn_lightning.files import write_atomically

# Taken from the network where the metadata lacks them.
FRAME_KEYS = ("sample_rate", "n_fft", "hop_length", "first_frame_centre_s")


def save_artifact(
    small: nn.Module,
    folder: str | os.PathLike[str],
    *,
    report: Mapping[str, Any] | None = None,
    metadata: Mapping[str, object],
    backbone: Mapping[str, object] | None = None,
    example_input: Any = None,
    metrics: Mapping[str, float] | None = None,
    exports: Sequence[str] = (),
) -> Path:
    """Write a network into a folder: ``model.safetensors``, ``architecture.json``, ``report.json``, ``README.md``.

    The folder appears complete or not at all: it is written beside its place and moved there at the end. An
    artifact that stands there is replaced. With an example input the network's calls are written as well
    (``program.json``, where torch.export can trace it), so that it loads without its class.

    Args:
        small: the plain network (what ``consolidate`` gave).
        folder: where to.
        report: what consolidation reported, as JSON values (``Report.as_dict()``).
        metadata: what inference needs, as JSON values: ``sample_rate``, ``n_fft``, ``hop_length``,
            ``first_frame_centre_s`` (taken from the network's attributes where absent), ``threshold``,
            ``threshold_on`` ("logit" or "probability"), ``labels``, ``min_speech_s``, ``min_silence_s``, and
            ``input_name`` and ``output_name``, which are to be called so. ``versions`` is added, ``program``: "yes", or
            why there is none, and with an example input what ``contract_of`` finds (``inputs``, ``outputs``,
            ``minimum_length``).
        backbone: ``{"class_path": …, "init_args": {…}}`` from which the full-size network was made. None: the
            class of ``small`` and those arguments that it keeps as attributes, if this gives the network
            back; if not, :func:`load_artifact` takes the program, or has to be given the backbone.
        example_input: a tensor, a tuple (positional arguments) or a dict (keyword arguments).
        metrics: name → value, for the report and the model card.
        exports: "onnx" for ``model.onnx`` and "pt2" for ``model.pt2``, which need ``example_input``; "int8" for
            ``model.int8.safetensors``.

    Raises:
        ArtifactError: if neither ``backbone`` nor its calls give the network back, a value is not JSON, or the folder
            has other files in it.
        ExportError: if one of ``exports`` cannot be made; the artifact is there without it.
    """
    folder = Path(folder)
    check_replaceable(folder)
    if unknown := set(exports) - set(EXPORTS):
        raise ArtifactError(f"exports: {', '.join(sorted(unknown))} is unknown, use {' or '.join(EXPORTS)}")
    if set(exports) - {"int8"} and example_input is None:
        raise ArtifactError(f"exports: {', '.join(exports)} cannot be made without example_input")
    small, example_input = in_float32(small, example_input)
    program: tuple[dict[str, Any], dict[str, Tensor]] | None = None
    reason = "no example input was given"
    if example_input is not None:
        try:
            program, reason = describe_program(small, example_input), "yes"
        except (ArtifactError, ExportError) as error:
            reason = str(error)
    known = {**_with_defaults(small, metadata), "program": reason}
    if example_input is not None:
        known |= contract_of(small, example_input, known)
    known = {key: value for key, value in known.items() if key not in NAMES}
    document = _document(small, known, backbone, folder)
    results = {**(report or {}), **({"metrics": dict(metrics)} if metrics else {})}
    with new_folder(folder) as temporary:
        save_tensors(small.state_dict(), temporary / WEIGHTS)
        write_atomically(temporary / ARCHITECTURE, to_json(document).encode())
        write_atomically(temporary / REPORT, to_json(results).encode())
        if program is not None:
            write_atomically(temporary / PROGRAM, to_json(program[0]).encode())
            save_tensors(program[1], temporary / CONSTANTS)
        failed = write_exports(small, example_input, temporary, exports, known)
        card = model_card(small, document, results, sorted(p.name for p in temporary.iterdir()))
        write_atomically(temporary / CARD, card.encode())
    if failed:
        reasons = "; ".join(f"no {EXPORTS[kind]}: {reason}" for kind, reason in failed.items())
        raise ExportError(f"{folder}: the artifact is written, but {reasons}")
    return folder


def load_artifact(
    folder: str | os.PathLike[str],
    *,
    backbone: nn.Module | None = None,
    trusted: bool = False,
    device: str | torch.device = "cpu",
    int8: bool = False,
) -> tuple[nn.Module, dict[str, Any]]:
    """The network of an artifact, in evaluation mode and in float32, and its metadata.

    A class named by a file is imported only if it belongs to this package, or the file is trusted. Where it is not,
    or cannot be made, the network comes back as a :class:`Program`, if the artifact has one.

    Args:
        folder: what :func:`save_artifact` wrote.
        backbone: a fresh full-size instance of the network's class, where that is of another package; it is
            altered.
        trusted: import the class that the file names, whatever it is. This runs code of the author's choice.
        device: where the network is put.
        int8: load ``model.int8.safetensors`` instead of the float weights, which may be missing then; for the CPU.

    Raises:
        ArtifactError: if a file is missing, damaged, of another format version, or does not fit the network.
    """
    folder = Path(folder)
    document = read_architecture(folder / ARCHITECTURE)
    if int8:
        try:
            network = from_int8_state(make_network(folder, backbone, trusted)[0], load_tensors(folder / INT8))
        except QuantizationError as error:
            raise ArtifactError(f"{folder / INT8}: {error}. Copy the artifact again.") from error
        return network, document["metadata"]
    state = numbers_in_float32(load_tensors(folder / WEIGHTS))  # earlier versions wrote the training's precision
    if (folder / PROGRAM).is_file() and backbone is None and not can_instantiate(document["backbone"], trusted):
        return _load_program(folder, state).to(device).eval(), document["metadata"]
    network, _ = make_network(folder, backbone, trusted)
    try:
        check_state(network, state)
    except ArtifactError as error:
        raise ArtifactError(
            f"{folder / WEIGHTS}: does not fit {ARCHITECTURE} ({error}). Copy both from the same artifact."
        ) from error
    network.load_state_dict(state, assign=True)
    return network.to(device).eval(), document["metadata"]


def make_network(
    folder: Path, backbone: nn.Module | None = None, trusted: bool = False
) -> tuple[nn.Module, dict[str, Any]]:
    """The network of an artifact's class with the layers of its sizes and fresh weights; and ``architecture.json``.

    Raises:
        ArtifactError: as :func:`load_artifact`.
    """
    document = read_architecture(folder / ARCHITECTURE)
    weights = (folder / WEIGHTS, folder / INT8)
    room = nullcontext() if trusted else Construction(max(p.stat().st_size for p in weights if p.is_file()))
    try:
        with room:
            network = backbone if backbone is not None else instantiate(document["backbone"], trusted)
            rebuild(network, document["modules"])
    except ArtifactError as error:
        raise ArtifactError(f"{folder / ARCHITECTURE}: {error}") from error
    except (MemoryError, RecursionError) as error:
        raise ArtifactError(f"{folder / ARCHITECTURE}: its network cannot be made ({error})") from error
    return network, document


def _load_program(folder: Path, state: dict[str, Tensor]) -> Program:
    document = read_document(folder / PROGRAM)
    try:
        network = Program(document)
    except ArtifactError as error:
        raise ArtifactError(f"{folder / PROGRAM}: {error}") from error
    try:
        network.load({**state, **numbers_in_float32(load_tensors(folder / CONSTANTS))})
    except ArtifactError as error:
        raise ArtifactError(
            f"{folder / WEIGHTS}: does not fit {PROGRAM} ({error}). Copy both from the same artifact."
        ) from error
    return network


def _document(
    small: nn.Module, metadata: Mapping[str, Any], backbone: Mapping[str, Any] | None, folder: Path
) -> dict[str, object]:
    """What ``architecture.json`` holds."""
    document: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "backbone": None,
        "modules": {name: describe(module) for name, module in walk(small)},
        "metadata": metadata,
    }
    cls = type(small)
    given = dict(backbone or guess_backbone(small))
    try:
        skeleton = cls(**given.get("init_args", {}))
        plain = dict(walk(skeleton))
        for name, learned in learned_sizes(skeleton, small).items():
            document["modules"][name] = {**describe(plain[name]), **learned}
        rebuild(skeleton, json.loads(to_json(document))["modules"])
        check_state(skeleton, small.state_dict())
        check_constants(skeleton, small)
        document["backbone"] = given
    except (TypeError, ValueError, RuntimeError) as error:
        if backbone is not None and metadata["program"] != "yes":
            raise ArtifactError(
                f"{folder}: {cls.__name__} made from backbone={given} does not give this network back "
                f"({error}); give the arguments that it was made from"
            ) from error
    return document


def _with_defaults(small: nn.Module, metadata: Mapping[str, Any]) -> dict[str, Any]:
    frames = {key: getattr(small, key) for key in FRAME_KEYS if hasattr(small, key)}
    versions = {"dyn_lightning": dyn_lightning.__version__, "torch": str(torch.__version__)}
    return {**frames, "versions": versions, **metadata}
