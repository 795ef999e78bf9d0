"""Packages of an extra: one line where they are missing, and none of them calls home."""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType

from dyn_lightning.errors import UserError

EXTRAS = {
    **dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "export"),
    "huggingface_hub": "hub",
    **dict.fromkeys(("torchvision", "timm", "transformers", "speechbrain"), "zoo"),
    **dict.fromkeys(("accelerate", "calflops", "fvcore", "moduleprofiler", "ptflops", "thop", "torchinfo"), "audit"),
    "torch_pruning": "peers",
    **dict.fromkeys(("scipy", "sklearn", "sweeps"), "dev"),
}
"""Package → the extra that has it."""

SILENT = {
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "WANDB_ERROR_REPORTING": "false",
}
"""What stops libraries from calling home; they read it when they are imported."""


class MissingExtraError(UserError, ImportError):
    """A package of an extra is not installed."""


def silence() -> None:
    """Keep libraries from calling home; before they are imported."""
    for key, value in SILENT.items():
        os.environ.setdefault(key, value)


def require(name: str) -> ModuleType:
    """Import a package of an extra.

    Raises:
        MissingExtraError: names the extra to install.
    """
    silence()
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        raise missing(error) or error from error
    if name == "onnxruntime":
        module.disable_telemetry_events()  # where somebody has imported it before
    return module


def missing(error: BaseException) -> MissingExtraError | None:
    """What is said of a package that is not installed; None of one that no extra has."""
    package = (getattr(error, "name", None) or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or package not in EXTRAS:
        return None
    return MissingExtraError(
        f"{package} is not installed. It comes with: pip install 'dyn_lightning[{EXTRAS[package]}]'"
    )
