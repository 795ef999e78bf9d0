"""A consolidated network on disk: weights as safetensors, all else as JSON. Nothing is pickled, nothing evaluated."""

from dyn_lightning.artifact.folder import load_artifact, save_artifact
from dyn_lightning.artifact.kinds import ArtifactError, build_layer, describe_layer
from dyn_lightning.artifact.program import Program
from dyn_lightning.artifact.trained import trained_network

__all__ = [
    "ArtifactError",
    "Program",
    "build_layer",
    "describe_layer",
    "load_artifact",
    "save_artifact",
    "trained_network",
]
