"""Other forms of an artifact's network, in files beside it: each is there, or the reason why it is not."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from dyn_lightning.artifact.files import INT8, save_tensors
from dyn_lightning.exports.check import first_line
from dyn_lightning.exports.export import export_onnx, save_program
from dyn_lightning.exports.quantize import int8_state, quantize

EXPORTS = {"onnx": "model.onnx", "pt2": "model.pt2", "int8": INT8}
# What is no use to whoever runs an ONNX file.
_NOT_IN_ONNX = ("program", "versions", "inputs", "outputs")


def write_exports(
    network: nn.Module, example_input: object, folder: Path, kinds: Sequence[str], metadata: Mapping[str, Any]
) -> dict[str, str]:
    """Write files of other forms into a folder; gives for each that cannot be made the reason, in a line.

    Args:
        network: plain, in float32.
        example_input: see ``save_artifact``.
        folder: of the artifact.
        kinds: of ``EXPORTS``.
        metadata: of the artifact.

    Raises:
        OSError: if the system refuses a file.
    """
    failed = {}
    for kind in dict.fromkeys(kinds):
        try:
            _write(kind, network, example_input, folder / EXPORTS[kind], metadata)
        except OSError:
            raise
        except Exception as error:  # exporters raise of every kind
            (folder / EXPORTS[kind]).unlink(missing_ok=True)
            own = type(error).__module__.startswith("dyn_lightning")
            reason = (str(error) if own else first_line(error)).replace(f"{folder}/", "")
            failed[kind] = reason.removeprefix(f"{EXPORTS[kind]}: ")
    return failed


def _write(kind: str, network: nn.Module, example_input: object, path: Path, metadata: Mapping[str, Any]) -> None:
    if kind == "onnx":
        names = {what: [entry["name"] for entry in metadata.get(what, ())] for what in ("inputs", "outputs")}
        told = {key: value for key, value in metadata.items() if key not in _NOT_IN_ONNX and value is not None}
        export_onnx(
            network,
            example_input,
            path,
            input_names=names["inputs"],
            output_names=names["outputs"],
            metadata=told,
        )
    elif kind == "pt2":
        save_program(network, example_input, path)
    else:
        save_tensors(int8_state(quantize(network)), path)


def in_float32(network: nn.Module, example_input: object) -> tuple[nn.Module, object]:
    """A network and its input in the precision in which audio comes, a copy where the training's is another."""
    tensors = [*network.parameters(), *network.buffers()]
    if all(x.dtype == torch.float32 for x in tensors if x.is_floating_point()):
        plain = network
    else:
        plain = copy.deepcopy(network).float()

    return plain, numbers_in_float32(example_input)


def numbers_in_float32(tensors: object) -> Any:
    """The same tree with all real numbers in float32; what is so already is not copied."""
    return pytree.tree_map(lambda x: x.float() if isinstance(x, Tensor) and x.is_floating_point() else x, tensors)
