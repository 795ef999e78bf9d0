"""A network that has been trained already, to begin from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from dyn_lightning.artifact.files import ARCHITECTURE, read_architecture
from dyn_lightning.artifact.folder import load_artifact
from dyn_lightning.errors import ArtifactError
from dyn_lightning.exports.program.traced import Program


def trained_network(artifact: str, trusted: bool = False) -> nn.Module:
    """The network of an artifact with its weights, ready to be trained and shrunk: a ``backbone`` in configurations.

    Args:
        artifact: folder of a finished run; its network may be at full size or have been shrunk before.
        trusted: as for :func:`~dyn_lightning.artifact.load_artifact`.

    Raises:
        ArtifactError: as ``load_artifact``; and for a class of another package that is not trusted, as its calls
            alone cannot be trained.
    """
    network, _ = load_artifact(artifact, trusted=trusted)
    if isinstance(network, Program):
        raise ArtifactError(
            f"{artifact}: holds a network of another package, whose calls alone cannot be trained. "
            "Give trusted=True, which imports and runs its class, if you trust the file."
        )
    return network.train()


def constructor_of(backbone: Any) -> dict[str, Any] | None:
    """Class and arguments of a configuration's backbone at full size; of a trained network those in its artifact.

    Args:
        backbone: ``{"class_path": …, "init_args": {…}}``; None comes of anything else.

    Raises:
        ArtifactError: if the artifact cannot be read.
    """
    if not (isinstance(backbone, Mapping) and "class_path" in backbone):
        return None
    arguments = dict(backbone.get("init_args") or {})
    if backbone["class_path"] in PATHS:
        found: dict[str, object] | None = read_architecture(Path(arguments["artifact"]) / ARCHITECTURE)["backbone"]
        return found
    return {"class_path": backbone["class_path"], "init_args": arguments}


PATHS = tuple(f"{module}.{trained_network.__name__}" for module in (trained_network.__module__, __package__))
"""How configurations name :func:`trained_network`."""
