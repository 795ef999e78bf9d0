"""Lightning's Trainer with the commands that need no training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import lightning
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from rich.console import Console

from dyn_lightning.cli.consolidate import consolidate_checkpoint
from dyn_lightning.errors import SettingError
from dyn_lightning.files import check_absent
from dyn_lightning.module import DynamicModule
from dyn_lightning.module.artifact import load_checkpoint
from dyn_lightning.profiling.profile import print_profile
from dyn_lightning.runs.folder import run_folder


class WidthsTrainer(Trainer):
    """Lightning's Trainer with the two commands that need no training, and one folder a run whatever the logger."""

    @property
    def log_dir(self) -> str | None:
        """The run's folder; all processes have to ask."""
        return str(run_folder(self))

    def consolidate(
        self,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | None = None,
        dirpath: str = "artifact",
        flops_per_second: float | None = None,
        share: float | None = None,
        share_of_all: float | None = None,
        curve: int = 0,
        exports: list[Literal["onnx", "pt2", "int8"]] | None = None,
        allow_uncounted: list[str] | None = None,
        weights_only: bool | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write the artifact of a checkpoint.

        Args:
            model: of the checkpoint's configuration.
            datamodule: where given, both networks are compared on its validation batches, else on noise, and batch
                normalisation takes its statistics anew for the sizes of a budget.
            ckpt_path: a checkpoint; one from before the sizes are final is cut to the run's goal, or to a budget given
                here, and of the warm-up needs one.
            dirpath: folder of the artifact.
            flops_per_second: a budget below the checkpoint's own, all that runs included; sizes next to the learned
                proportions are picked to meet it.
            share: such a budget as a share of the FLOPs that the sizes govern.
            share_of_all: such a budget as a share of all FLOPs at full size.
            curve: also evaluate this many budgets on the validation set, and write <dirpath>.curve.png and .json.
            exports: onnx, pt2 and int8 (by torch's dynamic quantisation): files beside the weights.
            allow_uncounted: patterns of calls whose FLOPs a budget may leave out, as they have no price.
            weights_only: as elsewhere; only False loads anything but tensors and primitives.
            overwrite: replace what lies there.
        """
        module = _dynamic(model)
        if ckpt_path is None:
            raise SettingError("consolidate: give the checkpoint, --ckpt_path FILE")
        if not overwrite:
            curves = [Path(f"{dirpath}.curve{suffix}") for suffix in (".png", ".json")] if curve else []
            check_absent([Path(dirpath), *curves], "--dirpath FOLDER")
        load_checkpoint(module, ckpt_path, weights_only=weights_only is not False)
        self.strategy.connect(module)
        if datamodule is not None:
            datamodule.trainer = self  # its hooks may ask for it
        consolidate_checkpoint(
            module,
            Path(dirpath),
            datamodule,
            flops_per_second=flops_per_second,
            share=share,
            share_of_all=share_of_all,
            curve_points=curve,
            exports=exports or (),
            allow_uncounted=allow_uncounted or (),
        )

    def profile(
        self,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | None = None,
        receptive_field: bool = True,
        latency: bool = False,
        time_dim: int = -1,
        weights_only: bool | None = None,
    ) -> None:
        """Print what each layer costs, at full size and at the kept sizes, and what it sees of the input.

        Args:
            model: of any configuration.
            datamodule: not needed; it may stand in the configuration.
            ckpt_path: a checkpoint whose sizes are shown; without it all sizes are full.
            receptive_field: measure receptive fields and the latency of a streaming call.
            latency: time the consolidated network by the size of each width, and suggest a ``multiple_of``.
            time_dim: dimension of time of the network's input.
            weights_only: as elsewhere; only False loads anything but tensors and primitives.
        """
        module = _dynamic(model)
        if ckpt_path is not None:
            load_checkpoint(module, ckpt_path, weights_only=weights_only is not False)
        module.eval()
        console = Console(width=None if sys.stdout.isatty() else 200)
        print_profile(module, console, receptive_field=receptive_field, latency=latency, time_dim=time_dim)


def _dynamic(model: lightning.LightningModule) -> DynamicModule:
    if not isinstance(model, DynamicModule):
        raise TypeError(f"a DynamicModule is needed, not a {type(model).__name__}")
    return model
