"""What a trainer may be asked for that cannot go together with sizes that are learned."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning
from lightning.pytorch.callbacks import ModelPruning
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dyn_lightning.errors import SettingError, first_line
from dyn_lightning.layers import DynamicLayer

_HALVES = re.compile(r"\b(Complex)?(Half|BFloat16)\b")  # as torch names them


def check_trainer(module: Any, trainer: lightning.Trainer) -> None:
    """Refuse, before a fit, what would break or falsify it.

    Args:
        module: a ``DynamicModule``.
        trainer: about to fit it.

    Raises:
        SettingError: for a module compiled from outside; and where sizes are learned for ``ModelPruning`` and for
            ``sync_batchnorm`` with norms that follow a size.
    """
    if getattr(module, "_compiler_ctx", None) is not None:
        raise SettingError(
            "torch.compile(module) compiles steps whose sizes change: give the module as it is, with "
            "DynamicModule(…, compile=True), which compiles the network while its sizes stand still"
        )
    if not module.is_dynamic:
        return
    if any(isinstance(callback, ModelPruning) for callback in trainer.callbacks):  # type: ignore[attr-defined]
        raise SettingError(
            "ModelPruning puts masks on weights whose sizes are learned, and zeros save no FLOPs: leave it out, or "
            "prune the network that consolidate gives"
        )
    if getattr(trainer.strategy, "_layer_sync", None) is not None and (name := following_norm(module.network)):
        raise SettingError(
            f"sync_batchnorm would replace {name}, which follows a learned size, by a norm that does not: leave it "
            "out. Give each process larger batches, or BatchNormReestimation, which averages statistics over processes"
        )


def following_norm(network: nn.Module) -> str | None:
    """The first batch norm that follows a learned size, by name."""
    for name, layer in network.named_modules():
        if isinstance(layer, _BatchNorm) and isinstance(layer, DynamicLayer):
            return name
    return None


@contextmanager
def naming_precision(precision: str) -> Iterator[None]:
    """Say what an operation that torch lacks in half precision asks for, such as a Fourier transform on the CPU.

    Args:
        precision: of the trainer.

    Raises:
        SettingError: in place of torch's error, where the whole network is in half precision.
    """
    try:
        yield
    except RuntimeError as error:
        if precision not in ("16-true", "bf16-true") or not _HALVES.search(str(error)):
            raise
        raise SettingError(
            f"precision {precision}: an operation of the network or the loss is not there in half precision on this "
            f"device ({first_line(error)}). Use precision bf16-mixed, which leaves such operations in float32"
        ) from error
