"""Command line: fit, validate, test, consolidate, profile, predict, score and data-check."""

from __future__ import annotations

import netrc
import os
import sys
import time
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import WandbLogger
from rich.console import Console

from dyn_lightning.artifact.from_module import load_checkpoint
from dyn_lightning.callbacks import ComplexityLogger, LambdaClamp, PhaseSwitch
from dyn_lightning.command_line import check_callbacks, check_checkpoint, has_config, model_of, option
from dyn_lightning.commands import pareto, predict, report, score, sweep
from dyn_lightning.consolidate_checkpoint import consolidate_checkpoint
from dyn_lightning.data_check import data_check
from dyn_lightning.errors import SettingError, in_one_line
from dyn_lightning.module import DynamicModule
from dyn_lightning.profiling.profile import print_profile
from dyn_lightning.report import append_result, config_hash, result_record
from dyn_lightning.report.environment import revision, typed
from dyn_lightning.run_identity import config_file, data_name, run_config
from dyn_lightning.sweep.points import WANDB_RUN

# Those that need no training configuration.
COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "predict": predict,
    "score": score,
    "data-check": data_check,
    "sweep": sweep,
    "pareto": pareto,
    "report": report,
}


class WidthsTrainer(Trainer):
    """Lightning's Trainer with the two commands that need no training."""

    def consolidate(
        self,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | None = None,
        dirpath: str = "artifact",
        flops_per_second: float | None = None,
        share: float | None = None,
        curve: int = 0,
        exports: list[Literal["onnx", "pt2", "int8"]] | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Write the artifact of a checkpoint.

        Args:
            model: of the checkpoint's configuration.
            datamodule: where given, both networks are compared on its validation batches, else on noise, and batch
                normalisation takes its statistics anew for the sizes of a budget.
            ckpt_path: a checkpoint of any phase.
            dirpath: folder of the artifact.
            flops_per_second: a budget below the checkpoint's own, all that runs included; sizes next to the learned
                proportions are picked to meet it.
            share: such a budget as a share of the FLOPs that the sizes govern.
            curve: also evaluate this many budgets on the validation set, and write <dirpath>.curve.png and .json.
            exports: onnx, pt2 and int8 (by torch's dynamic quantisation): files beside the weights.
            weights_only: as elsewhere; only False loads anything but tensors and primitives.
        """
        module = _dynamic(model)
        if ckpt_path is None:
            raise SettingError("consolidate: give the checkpoint, --ckpt_path FILE")
        load_checkpoint(module, ckpt_path, weights_only=weights_only is not False)
        consolidate_checkpoint(
            module,
            Path(dirpath),
            datamodule,
            flops_per_second=flops_per_second,
            share=share,
            curve_points=curve,
            exports=exports or (),
        )

    def profile(
        self,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | None = None,
        receptive_field: bool = True,
        audit: bool = False,
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
            audit: count the consolidated network by public counters as well, those of the extra ``audit`` that
                are installed, and show what they miss.
            latency: time the consolidated network by the size of each width, and suggest a ``multiple_of``.
            time_dim: dimension of time of the network's input.
            weights_only: as elsewhere; only False loads anything but tensors and primitives.
        """
        module = _dynamic(model)
        if ckpt_path is not None:
            load_checkpoint(module, ckpt_path, weights_only=weights_only is not False)
        module.eval()
        console = Console(width=None if sys.stdout.isatty() else 200)
        print_profile(module, console, receptive_field=receptive_field, audit=audit, latency=latency, time_dim=time_dim)


class WidthsCLI(LightningCLI):
    """LightningCLI for :class:`DynamicModule`; a checkpoint alone says how its model is made."""

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

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        given = list(sys.argv[1:] if args is None else args) if not isinstance(args, dict) else []
        self._command = typed(["dyn-lightning", *given]) if given else None
        if given and given[0] in ("consolidate", "profile") and not has_config(given):
            checkpoint = option(given, "--ckpt_path")
            if checkpoint is not None:
                # Parsed below for good; here it only has to take the place of the required arguments.
                model = model_of(checkpoint)
                self._subcommand_parsers[given[0]].set_defaults({f"model.{k}": v for k, v in model.items()})
        for action in self._subcommand_parsers["profile"]._actions:
            if action.dest in ("audit", "latency"):
                action.nargs, action.const = "?", True  # --audit alone says yes
        super().parse_arguments(parser, args)
        # As given: later a random one stands in the place of True, and another one when the run goes on.
        self._seed_given = self.config[self.config.subcommand].get("seed_everything")

    def before_instantiate_classes(self) -> None:
        check_checkpoint(self.config[self.config.subcommand].get("ckpt_path"))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = self._get(self.config_init, "trainer") or {}
        check_callbacks(trainer.get("callbacks") or [])
        return super().instantiate_trainer(**kwargs)

    def after_instantiate_classes(self) -> None:
        # What was parsed, with class paths: a checkpoint that holds it can be loaded without its YAML.
        self._dump_config()
        self.model.hparams.update(self.config_dump.get("model") or {})
        self._seed_training_data()
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
        checkpoint = getattr(self.trainer.checkpoint_callback, "best_model_path", "") or None
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


def default_wandb_offline(environment: MutableMapping[str, str]) -> None:
    """Keep W&B offline unless its user has configured it: a mode, an API key, or a login."""
    if "WANDB_MODE" in environment or "WANDB_API_KEY" in environment or _logged_in(environment):
        return
    environment["WANDB_MODE"] = "offline"


def _logged_in(environment: MutableMapping[str, str]) -> bool:
    try:
        hosts = netrc.netrc(environment.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in hosts)


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of ``dyn-lightning``. Gives the exit status."""
    return in_one_line(lambda: _run(args))


def _run(args: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if args is None else args)
    name = given[0] if given else ""
    if name in COMMANDS:
        return COMMANDS[name](given[1:])
    known = (*WidthsCLI.subcommands(), *COMMANDS)
    if name and not name.startswith("-") and name not in known:
        raise SettingError(f"{name!r} is no command; there are {', '.join(known)}")
    _lightning_cli(None if args is None else given)
    return 0


def _lightning_cli(args: list[str] | None) -> None:
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
            f"{', '.join(COMMANDS)}.",
        },
        args=args,
    )


def _dynamic(model: lightning.LightningModule) -> DynamicModule:
    if not isinstance(model, DynamicModule):
        raise TypeError(f"a DynamicModule is needed, not a {type(model).__name__}")
    return model


if __name__ == "__main__":
    sys.exit(main())
