"""A consolidated network on disk: weights as safetensors, all else as JSON. Nothing is pickled, nothing evaluated."""

from dyn_lightning.artifact.folder import load_artifact, save_artifact
from dyn_lightning.artifact.trained import trained_network
from dyn_lightning.errors import ArtifactError
from dyn_lightning.exports.program.traced import Program
from dyn_lightning.modules.kinds import build_layer, describe_layer

__all__ = [
    "ArtifactError",
    "Program",
    "build_layer",
    "describe_layer",
    "load_artifact",
    "save_artifact",
    "trained_network",
]
