"""Commands by a training configuration: fit, validate, test, consolidate and profile."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from dyn_lightning.callbacks import ComplexityLogger, Consolidate, LambdaClamp, PhaseSwitch
from dyn_lightning.callbacks.final_checkpoint import final_checkpoint
from dyn_lightning.callbacks.network_summary import NetworkSummary
from dyn_lightning.cli.arguments import (
    UNTRAINED,
    best_checkpoint,
    check_callbacks,
    check_checkpoint,
    has_config,
    model_of,
    name_wandb_run,
    option,
)
from dyn_lightning.cli.checkpoint_model import differences, vetted
from dyn_lightning.cli.help import ShortHelpParser
from dyn_lightning.cli.network_access import default_wandb_offline
from dyn_lightning.cli.run_end import end_of_fit, lacking_for_predict, metric_lines
from dyn_lightning.cli.run_start import RunConfig, claim_folder, without_adverts, without_numbered_logs
from dyn_lightning.cli.sources import check_moved, check_readable, displaced_budgets, files_first, flag, with_nulls
from dyn_lightning.cli.trainer import WidthsTrainer
from dyn_lightning.cli.uniform import add_uniform_options, make_uniform
from dyn_lightning.errors import SettingError, UserError
from dyn_lightning.module import DynamicModule
from dyn_lightning.module.checkpoint_io import write_whole_checkpoints
from dyn_lightning.module.trainer_checks import naming_precision
from dyn_lightning.optional import missing
from dyn_lightning.runs import config_hash, keep_result, result_record
from dyn_lightning.runs.environment import revision, typed
from dyn_lightning.runs.folder import run_folder
from dyn_lightning.runs.identity import config_file, data_name, run_config
from dyn_lightning.runs.measures import DECLARED, write_declared
from dyn_lightning.sweep.points import WANDB_RUN

SWITCHES = {"enable_checkpointing": Checkpoint, "enable_progress_bar": ProgressBar}
"""Options of the trainer that leave out callbacks of a configuration, and which."""


class WidthsCLI(LightningCLI):
    """LightningCLI for :class:`DynamicModule`; a checkpoint alone says how its model is made.

    Settings of the model come from the checkpoint, the configurations and the command line, and the later ones hold.
    (Lightning's own lets those of the checkpoint hold, without a word.)
    """

    trainer: WidthsTrainer

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {
            "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"},
            "validate": {"model", "dataloaders", "datamodule"},
            "test": {"model", "dataloaders", "datamodule"},
            "consolidate": {"model", "datamodule", "overwrite"},
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
        parser.add_argument(
            "--name",
            type=str | None,
            default=None,
            help="fit: what the run is called in its record, in reports and in W&B, such as 'uniform 25 %'.",
        )
        add_uniform_options(parser)
        parser.add_argument(
            "--overwrite",
            type=bool,
            default=False,
            help="fit, consolidate: replace what lies where the run's files or the artifact go.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        given = list(sys.argv[1:] if args is None else args) if not isinstance(args, dict) else []
        self._command = typed(["dyn-lightning", *given]) if given else None
        given = with_nulls(files_first(given))
        check_readable(given)
        check_moved(given)
        self._model_before = self._settings_of_checkpoint(given)
        if self._model_before:
            defaults = {f"model.{k}": v for k, v in self._model_before.items()}
            self._subcommand_parsers[given[0]].set_defaults(defaults)
        for action in (a for p in self._subcommand_parsers.values() for a in p._actions):
            if action.dest in ("latency", "trusted", "overwrite"):
                action.nargs, action.const = "?", True  # --latency alone says yes
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
        config = self.config[self.config.subcommand]
        checkpoint = config.get("ckpt_path")
        if self.config.subcommand in ("validate", "test"):
            if checkpoint is None:
                config.ckpt_path = checkpoint = best_checkpoint(map(str, config.get("config") or ()))
                print(f"{self.config.subcommand}: {checkpoint}, the run's best checkpoint")
            elif checkpoint == UNTRAINED:
                config.ckpt_path = checkpoint = None
        check_checkpoint(checkpoint)
        if self.config.subcommand == "fit" and (chosen := make_uniform(config)):
            rank_zero_info(chosen)
        name_wandb_run(config)
        if self.config.subcommand == "profile" and config.model.get("objective") is None:
            # Nothing is searched: any will do for a network whose sizes can be learned.
            config.model.objective = Namespace(
                class_path="dyn_lightning.objectives.LambdaSquared", init_args=Namespace(beta=1.0)
            )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given = self._get(self.config_init, "trainer") or {}
        callbacks = given.get("callbacks") or []
        check_callbacks(callbacks)
        kept = [
            c for c in callbacks if not any(given.get(k) is False and isinstance(c, t) for k, t in SWITCHES.items())
        ]
        if len(kept) < len(callbacks):
            kwargs["callbacks"] = kept
        try:
            summary = given.get("enable_model_summary") is not False
            trainer = super().instantiate_trainer(**kwargs, enable_model_summary=False)
        except UserError:
            raise
        except (MisconfigurationException, ModuleNotFoundError, TypeError, ValueError) as error:
            raise missing(error) or SettingError(f"trainer: {' '.join(str(error).split())}") from error
        write_whole_checkpoints(trainer)
        if summary:
            trainer.callbacks.append(NetworkSummary())  # type: ignore[attr-defined]
        if self.subcommand in ("validate", "test"):
            without_numbered_logs(trainer)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Consolidate):
                callback.announce = False  # after_fit does
                callback.overwrite = callback.overwrite or self._get(self.config_init, "overwrite", False)
        return trainer

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
        config = self.config[self.subcommand]
        if not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            claim_folder(self.trainer, overwrite=config.overwrite, checkpoint=config.get("ckpt_path"))
        if absent := lacking_for_predict(self.model):
            rank_zero_warn(absent)
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
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        path = self.config[self.subcommand].get("results")
        folder = run_folder(self.trainer)  # asks the other processes: before one goes on alone
        metrics = {} if path is None else self._record(path)
        for logger in self.trainer.loggers:
            if isinstance(logger, WandbLogger) and self.trainer.is_global_zero:
                logger.experiment.finish()  # its last words come before ours
        if self.trainer.is_global_zero:
            if folder.is_dir() and self.model.metric_info:
                write_declared(self.model.metric_info, folder / DECLARED)  # for whoever reads the logs
            print(end_of_fit(self.trainer, folder, metrics, path))

    def _record(self, path: str) -> dict[str, Any]:
        """Measure the best checkpoint, append the run's record to a file, and give the metrics."""
        wall_time_s = time.monotonic() - self._started
        checkpoint = final_checkpoint(self.trainer) or None
        metrics: dict[str, object] = {}
        for evaluate in (self.trainer.validate, self.trainer.test):
            evaluate(self.model, datamodule=self.datamodule, ckpt_path=checkpoint, weights_only=True, verbose=False)
            metrics |= self.trainer.callback_metrics
        saved = config_file(self.trainer)
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
            known = {"config_file": saved, "name": self.config[self.subcommand].get("name")}
            record |= {key: value for key, value in known.items() if value}
            keep_result(path, record, went_on_from=self.config[self.subcommand].get("ckpt_path"))
        return metrics

    def _run_subcommand(self, subcommand: str) -> None:
        with naming_precision(self.trainer.precision):
            super()._run_subcommand(subcommand)

    def validate(self, **options: Any) -> None:
        self._measure(self.trainer.validate, options)

    def test(self, **options: Any) -> None:
        self._measure(self.trainer.test, options)

    def consolidate(self, **options: Any) -> None:
        self.trainer.consolidate(**options, overwrite=self.config[self.subcommand].overwrite)

    def _measure(self, evaluate: Callable[..., Any], options: dict[str, Any]) -> None:
        evaluate(**{**options, "verbose": False})
        if options.get("verbose", True) and self.trainer.is_global_zero:
            print("\n".join(metric_lines(self.trainer.callback_metrics, self.model.metric_info)))


def _of_one_command(name: str) -> type[WidthsCLI]:
    """The command line with the parser of one command, which takes a fifth of the time; with all for other names."""
    wanted = WidthsCLI.subcommands().get(name)
    if wanted is None:
        return WidthsCLI
    return type(WidthsCLI.__name__, (WidthsCLI,), {"subcommands": staticmethod(lambda: {name: wanted})})


def run(args: list[str] | None, trainer_class: type[WidthsTrainer] = WidthsTrainer) -> None:
    """Run the command, of :meth:`WidthsCLI.subcommands`, that stands first.

    Args:
        args: the command line without the program's name; None: that of this process.
        trainer_class: whose methods are the commands.
    """
    default_wandb_offline(os.environ)
    without_adverts()
    name = (sys.argv[1:2] if args is None else args[:1]) or [""]
    _of_one_command(name[0])(
        DynamicModule,
        trainer_class=trainer_class,
        subclass_mode_data=True,
        parser_class=ShortHelpParser,
        auto_configure_optimizers=False,
        save_config_callback=RunConfig,
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"parser_mode": "omegaconf", "description": "Learn layer sizes under a FLOPs budget."},
        args=args,
    )
