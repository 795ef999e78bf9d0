"""Batches as a trainer gives them to a step: of all its loaders, converted to its precision, through all hooks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import lightning
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import RunningStage
from lightning.pytorch.utilities import CombinedLoader
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader


class Batches(Iterable[Any]):
    """Batches that can be read several times, each made ready as it is read.

    Args:
        loaders: one or several, in a list, by names or combined. Of those that are read one after the other, the first.
        ready: a batch as it comes from the loader → as the network's task takes it.
        mode: of Lightning's CombinedLoader, for several.
    """

    def __init__(self, loaders: object, ready: Callable[[object], object], mode: Any) -> None:
        self._loaders = loaders if isinstance(loaders, CombinedLoader) else CombinedLoader(loaders, mode)
        self._ready = ready

    def __iter__(self) -> Iterator[Any]:
        for batch, _, loader in self._loaders:
            if loader > 0:
                return
            yield self._ready(batch)


def training_batches(trainer: lightning.Trainer) -> Iterable[Any]:
    """What training steps get, read anew: the epoch goes on where it is. On the trainer's device."""
    combined = trainer.fit_loop._combined_loader
    assert combined is not None
    # Without workers: those that persist have one iterator, which the epoch is reading from.
    apart = CombinedLoader(combined.iterables, combined._mode)
    apart.flattened = [_without_workers(loader) for loader in combined.flattened]
    device = trainer.strategy.root_device
    return Batches(apart, lambda batch: _ready(trainer, batch, device, RunningStage.TRAINING), combined._mode)


def validation_batches(trainer: lightning.Trainer, device: torch.device) -> Iterable[Any]:
    """What validation steps of a fit get, of the first loader, on a device and in float32; none without validation.

    In float32 whatever the trainer's precision, as what ships is.
    """
    combined = trainer.fit_loop.epoch_loop.val_loop._combined_loader
    if combined is None:
        return ()
    return Batches(
        combined, lambda batch: in_float32(_ready(trainer, batch, device, RunningStage.VALIDATING)), "sequential"
    )


def data_batches(datamodule: LightningDataModule, stage: str) -> Iterable[Any]:
    """Batches of a data module without a fit, on the CPU, through its hooks.

    Args:
        datamodule: prepared and set up here.
        stage: "fit" or "validate".
    """
    if stage == "validate" and not is_overridden("val_dataloader", datamodule):
        return ()
    datamodule.prepare_data()
    datamodule.setup(stage)
    device = torch.device("cpu")

    def ready(batch: Any) -> Any:
        batch = datamodule.on_before_batch_transfer(batch, 0)
        batch = datamodule.transfer_batch_to_device(batch, device, 0)
        return datamodule.on_after_batch_transfer(batch, 0)

    if stage == "fit":
        return Batches(datamodule.train_dataloader(), ready, "max_size_cycle")
    return Batches(datamodule.val_dataloader(), ready, "sequential")


def in_float32(x: Any) -> Any:
    """The same with all real numbers in float32."""
    return pytree.tree_map(lambda t: t.float() if isinstance(t, torch.Tensor) and t.is_floating_point() else t, x)


def _ready(trainer: lightning.Trainer, batch: Any, device: torch.device, stage: RunningStage) -> Any:
    """A batch as Lightning's loops make it ready; hooks may ask the trainer whether it trains or validates."""
    module, before = trainer.lightning_module, trainer.state.stage
    trainer.state.stage = stage
    try:
        batch = trainer.precision_plugin.convert_input(batch)
        batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
        return module._apply_batch_transfer_handler(batch, device=device, dataloader_idx=0)
    finally:
        trainer.state.stage = before


def _without_workers(loader: Any) -> Any:
    if not isinstance(loader, DataLoader):
        return loader
    loader = copy.copy(loader)
    loader.num_workers, loader.timeout = 0, 0
    return loader
