"""Commands by a training configuration: fit, validate, test, consolidate and profile."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_info

from dyn_lightning.callbacks import ComplexityLogger, LambdaClamp, PhaseSwitch
from dyn_lightning.callbacks.final_checkpoint import final_checkpoint
from dyn_lightning.cli.arguments import check_callbacks, check_checkpoint, has_config, model_of, option
from dyn_lightning.cli.checkpoint_model import differences, vetted
from dyn_lightning.cli.network_access import default_wandb_offline
from dyn_lightning.cli.sources import displaced_budgets, flag
from dyn_lightning.cli.trainer import WidthsTrainer
from dyn_lightning.module import DynamicModule
from dyn_lightning.report import append_result, config_hash, result_record
from dyn_lightning.report.environment import revision, typed
from dyn_lightning.run_identity import config_file, data_name, run_config
from dyn_lightning.runs.checkpoint_io import write_whole_checkpoints
from dyn_lightning.sweep.points import WANDB_RUN


class WidthsCLI(LightningCLI):
    """LightningCLI for :class:`DynamicModule`; a checkpoint alone says how its model is made.

    Settings of the model come from the checkpoint, the configurations and the command line, and the later ones hold.
    (Lightning's own lets those of the checkpoint hold, without a word.)
    """

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {
            "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"},
            "validate": {"model", "dataloaders", "datamodule"},
            "test": {"model", "dataloaders", "datamodule"},
            "consolidate": {"model", "datamodule"},
            "profile": {"model", "datamodule"},
        }

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        # Under keys of their own: entries of a list of callbacks cannot be set from the command line.
        parser.add_lightning_class_args(PhaseSwitch, "phases")
        parser.add_lightning_class_args(LambdaClamp, "clamp")
        parser.add_argument(
            "--results",
            type=str | None,
            default=None,
            help="fit: test the best checkpoint afterwards, and append one JSON line to this file.",
        )
        parser.add_argument(
            "--trusted",
            type=bool,
            default=False,
            help="Import whatever classes the checkpoint names, of any package. This runs code of its author's choice.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        given = list(sys.argv[1:] if args is None else args) if not isinstance(args, dict) else []
        self._command = typed(["dyn-lightning", *given]) if given else None
        self._model_before = self._settings_of_checkpoint(given)
        if self._model_before:
            defaults = {f"model.{k}": v for k, v in self._model_before.items()}
            self._subcommand_parsers[given[0]].set_defaults(defaults)
        for action in (a for p in self._subcommand_parsers.values() for a in p._actions):
            if action.dest in ("audit", "latency", "trusted"):
                action.nargs, action.const = "?", True  # --audit alone says yes
        if given:
            self.config = parser.parse_args([*given, *displaced_budgets(given, self._model_before)])
        else:
            super().parse_arguments(parser, args)
        # As given: later a random one stands in the place of True, and another one when the run goes on.
        self._seed_given = self.config[self.config.subcommand].get("seed_everything")

    def _settings_of_checkpoint(self, given: Sequence[str]) -> dict[str, Any] | None:
        """The model's settings in the checkpoint of a command line; None where it has none."""
        checkpoint = option(given, "--ckpt_path")
        if checkpoint is None or given[0] not in self._subcommand_parsers:
            return None
        alone = not has_config(given) and given[0] in ("consolidate", "profile")
        if not alone and not Path(checkpoint).is_file():
            return None  # "best" and the like, or absent: see before_instantiate_classes
        return vetted(model_of(checkpoint, needed=alone), checkpoint, given, flag(given, "--trusted"))

    def _parse_ckpt_path(self) -> None:
        """Lightning would put the checkpoint's settings in place of those that were given."""

    def before_instantiate_classes(self) -> None:
        check_checkpoint(self.config[self.config.subcommand].get("ckpt_path"))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = self._get(self.config_init, "trainer") or {}
        check_callbacks(trainer.get("callbacks") or [])
        made = super().instantiate_trainer(**kwargs)
        write_whole_checkpoints(made)
        return made

    def after_instantiate_classes(self) -> None:
        # What was parsed, with class paths: a checkpoint that holds it can be loaded without its YAML.
        self._dump_config()
        model = self.config_dump.get("model") or {}
        self.model.hparams.update(model)
        if changed := differences(self._model_before or {}, model):
            rank_zero_info(f"as given, not as in the checkpoint: {'; '.join(changed)}")
        self._seed_training_data()
        if callable(follow := getattr(self.datamodule, "follow", None)):
            follow(self.model.network)  # also for commands that no trainer gives the data to
        self._started = time.monotonic()
        revision()  # of the code that runs: files may change until the record is made

    def _seed_training_data(self) -> None:
        """Have the training data follow ``seed_everything`` where no ``train_seed`` is given.

        In the data module alone: the configuration is the same for all seeds, and can be run with another.
        """
        given = (self.config_dump.get("data") or {}).get("init_args") or {}
        seed = self._seed_given
        if "train_seed" in given and given["train_seed"] is None and type(seed) is int:
            self.datamodule.train_seed = seed

    def before_fit(self) -> None:
        run = self._described()
        for logger in self.trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_hyperparams({WANDB_RUN: {**run, "config_hash": config_hash(run["config"])}})

    def _described(self) -> dict[str, Any]:
        """What tells this run apart, in its record as in W&B."""
        return {
            "config": run_config(self.config_dump),
            "seed": self.config_dump.get("seed_everything"),
            "dataset": data_name(self.datamodule),
        }

    def after_fit(self) -> None:
        path = self.config[self.subcommand].get("results")
        if path is None or self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        wall_time_s = time.monotonic() - self._started
        checkpoint = final_checkpoint(self.trainer) or None
        metrics: dict[str, Any] = {}
        for evaluate in (self.trainer.validate, self.trainer.test):
            evaluate(self.model, datamodule=self.datamodule, ckpt_path=checkpoint, weights_only=True)
            metrics |= self.trainer.callback_metrics
        if self.trainer.is_global_zero:
            logger = next((c for c in self.trainer.callbacks if isinstance(c, ComplexityLogger)), None)  # type: ignore[attr-defined]
            record = result_record(
                self.model,
                metrics=metrics,
                wall_time_s=wall_time_s,
                history=None if logger is None else logger.history,
                command=self._command,
                **self._described(),
            )
            saved = config_file(self.trainer)
            append_result(path, record if saved is None else {**record, "config_file": saved})


def run(args: list[str] | None, more: Iterable[str] = ()) -> None:
    """Run the command, of :meth:`WidthsCLI.subcommands`, that stands first.

    Args:
        args: the command line without the program's name; None: that of this process.
        more: names of other commands, for the help.
    """
    default_wandb_offline(os.environ)
    WidthsCLI(
        DynamicModule,
        trainer_class=WidthsTrainer,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        save_config_kwargs={"overwrite": True},
        parser_kwargs={
            "parser_mode": "omegaconf",
            "description": "Learn layer sizes under a FLOPs budget. More commands, with a --help of their own: "
            f"{', '.join(more)}.",
        },
        args=args,
    )
