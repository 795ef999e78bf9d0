"""What a command line says before anything is made of it, and what would go wrong later without a word of help."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.utilities.model_helpers import is_overridden

from dyn_lightning.errors import SettingError, UserError
from dyn_lightning.runs.checkpoint_io import read_checkpoint

NAMED_CHECKPOINTS = ("best", "last", "hpc", "registry")
"""What Lightning takes for ``--ckpt_path`` in place of a file; the last one also with a name behind it."""


def has_config(args: Sequence[str]) -> bool:
    """Whether a configuration is among the arguments."""
    return any(a in ("-c", "--config") or a.startswith("--config=") for a in args)


def option(args: Sequence[str], name: str) -> str | None:
    """The value of an option, given as ``name value`` or ``name=value``; None where it is not there."""
    for i, argument in enumerate(args):
        if argument == name and i + 1 < len(args):
            return args[i + 1]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    return None


def check_checkpoint(checkpoint: str | None) -> None:
    """Raises UserError where a checkpoint is the name of a file that is absent."""
    if checkpoint is None or checkpoint.split(":")[0] in NAMED_CHECKPOINTS or "://" in checkpoint:
        return
    if not Path(checkpoint).is_file():
        raise UserError(f"{checkpoint}: no such file. Give a run's, such as runs/csv/version_0/checkpoints/best.ckpt")


def model_of(checkpoint: str, *, needed: bool = True) -> dict[str, Any]:
    """The model's configuration in a checkpoint of the command line.

    Args:
        checkpoint: the file.
        needed: whether there has to be one; without, what little there is is given back.

    Raises:
        UserError: if the file is absent or damaged, or holds no configuration where one is needed.
    """
    check_checkpoint(checkpoint)
    content = read_checkpoint(checkpoint)
    parameters = {k: v for k, v in dict(content.get("hyper_parameters", {})).items() if k != "_instantiator"}
    if needed and "backbone" not in parameters:
        raise UserError(f"{checkpoint}: does not say how its model is made: add its configuration, -c FILE")
    return parameters


def check_callbacks(callbacks: Iterable[Callback]) -> None:
    """Raises SettingError where two callbacks would have one place in a checkpoint, as two configurations add them."""
    keys = Counter(c.state_key for c in callbacks if is_overridden("state_dict", c, Callback))
    if twice := [key.partition("{")[0] for key, count in keys.items() if count > 1]:
        raise SettingError(
            f"trainer.callbacks: there twice: {', '.join(twice)}. Give one file of configs/dynamic and one of "
            "configs/trainer alone"
        )
