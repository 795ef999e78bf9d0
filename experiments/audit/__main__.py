"""Counts one call of a configuration's network by ourselves and by the public counters that are installed.

``python -m experiments.audit -c configs/task/vad.yaml -c configs/dynamic/none.yaml``; with ``--ckpt_path`` the small
network of a checkpoint. The counters come with the extra ``audit``; each that is missing says so. Any other option is
one of ``dyn-lightning profile``, such as ``--model.…``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from rich.console import Console

from dyn_lightning.cli.trainer import WidthsTrainer
from dyn_lightning.cli.training import run
from dyn_lightning.consolidate import consolidate
from dyn_lightning.errors import SettingError
from dyn_lightning.module import DynamicModule
from dyn_lightning.module.artifact import load_checkpoint
from dyn_lightning.optional import silence
from experiments.audit.compare import audit, audit_summary, audit_table
from experiments.command import as_command


class AuditTrainer(WidthsTrainer):
    """Has public counters in the place of the profile."""

    def profile(  # type: ignore[override]  # what can be asked of it is less
        self,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Print our count of each layer beside those of public counters.

        Args:
            model: of any configuration.
            datamodule: not needed; it may stand in the configuration.
            ckpt_path: a checkpoint whose small network is counted; without it all sizes are full.
            weights_only: as elsewhere; only False loads anything but tensors and primitives.
        """
        assert isinstance(model, DynamicModule)  # the command line makes no other
        if ckpt_path is not None:
            load_checkpoint(model, ckpt_path, weights_only=weights_only is not False)
        print_audit(model.eval(), Console(width=None if sys.stdout.isatty() else 200))


def print_audit(module: DynamicModule, console: Console) -> None:
    """Print the counts of a module's consolidated network.

    Args:
        module: in evaluation mode.
        console: where to print.

    Raises:
        SettingError: where the shape of an example input is unknown, as of a network that was dynamic already.
    """
    if module.example_shape is None:
        raise SettingError("audit: the shape of an example input is unknown. Give the module a plain backbone")
    small = consolidate(module.learned[0])[0] if module.is_dynamic else module.network
    device = next((p.device for p in small.parameters()), torch.device("cpu"))
    result = audit(small, torch.zeros(*module.example_shape, device=device))
    console.print(audit_table(result))
    console.print(audit_summary(result), soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses what this command has of its own, and leaves the rest to the command line of trainings."""
    parser = argparse.ArgumentParser(
        "python -m experiments.audit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-c", "--config", action="append", default=[], metavar="FILE", help="configurations, in order")
    parser.add_argument("--ckpt_path", metavar="FILE", help="count the small network of this checkpoint")
    args, others = parser.parse_known_args(arguments)
    given = [word for path in args.config for word in ("-c", path)]
    given += ["--ckpt_path", args.ckpt_path] if args.ckpt_path else []
    silence()
    run(["profile", *given, *others], trainer_class=AuditTrainer)


if __name__ == "__main__":
    as_command(main)
