"""What a command line says before anything is made of it, and what would go wrong later without a word of help."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.utilities.model_helpers import is_overridden

from dyn_lightning.errors import SettingError, UserError
from dyn_lightning.module.checkpoint_io import read_checkpoint
from dyn_lightning.runs.folder import CHECKPOINTS, CONFIG

UNTRAINED = "none"
"""For ``--ckpt_path`` of ``test`` and ``validate``: the network as it is made, which may have weights of its own."""
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


def model_of(checkpoint: str, *, needed: bool = True) -> dict[str, object]:
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


def best_checkpoint(configs: Iterable[str]) -> str:
    """The best checkpoint of the run whose own configuration is among those given.

    Raises:
        SettingError: where none is, for a network without trained weights measures nothing.
    """
    lying = [path for name in configs for path in sorted((Path(name).parent / CHECKPOINTS).glob("*.ckpt"))]
    best = [path for path in lying if path.name == "best.ckpt"]
    if len(best) == 1:
        return str(best[0])
    found = f" There are {', '.join(map(str, lying))}." if lying else ""
    raise SettingError(
        "the network has random weights without a checkpoint: give --ckpt_path FILE, or the configuration that a run "
        f"left beside its checkpoints, -c runs/csv/version_0/{CONFIG}.{found} "
        f"(--ckpt_path {UNTRAINED}: measure it as it is made)"
    )


def name_wandb_run(config: Any) -> None:
    """Give W&B's loggers in a command's configuration the run's name of ``--name``, where they have none."""
    loggers = (config.get("trainer") or {}).get("logger")
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if logger is None or not str(getattr(logger, "class_path", "")).endswith("WandbLogger"):
            continue
        if config.get("name") and logger.init_args.get("name") is None:
            logger.init_args.name = config.name
