"""What ``fit`` does before it trains: a folder that no run has yet, and its configuration there."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import lightning
from lightning.pytorch import Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dyn_lightning.callbacks.progress_bar import print_above
from dyn_lightning.cli.arguments import NAMED_CHECKPOINTS
from dyn_lightning.errors import SettingError
from dyn_lightning.runs.environment import typed
from dyn_lightning.runs.folder import CHECKPOINTS, CONFIG, discard_unused, folder_of, known_folder, reserve, run_in


def without_adverts() -> None:
    """Leave out what Lightning says of other products, at every command, where results are looked for."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advert)
    warnings.filterwarnings("ignore", "Starting from v1.9.0, `tensorboardX` has been removed")


def _is_no_advert(record: logging.LogRecord) -> bool:
    return "litlogger" not in record.getMessage()


class RunConfig(SaveConfigCallback):
    """Saves the configuration of a fit in its run's folder; says how an interrupted one goes on.

    The folder of a fit that failed before its first step is removed again.
    """

    def setup(self, trainer: Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        self.config = self.config.clone()
        self.config.overwrite = False  # of this run: who runs its configuration again has to say it again
        super().setup(trainer, pl_module, stage)

    def on_exception(self, trainer: Trainer, pl_module: lightning.LightningModule, exception: BaseException) -> None:
        if trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        folder = known_folder(trainer)
        if folder is None:
            return
        if isinstance(exception, (KeyboardInterrupt, SIGTERMException)):
            print_above(trainer, how_to_resume(folder))
        if trainer.global_step == 0 or self.config.get("ckpt_path"):
            discard_unused(folder)


def how_to_resume(folder: Path) -> str:
    """One line: the command by which an interrupted run goes on."""
    last, config = folder / CHECKPOINTS / "last.ckpt", folder / CONFIG
    if not last.is_file():
        return "interrupted before the first checkpoint: there is nothing to go on from"
    start = ["-c", str(config)] if config.is_file() else ["-c", "…"]
    return f"interrupted. It goes on by: {typed(['dyn-lightning', 'fit', *start, '--ckpt_path', str(last)])}"


@rank_zero_only
def claim_folder(trainer: Trainer, *, overwrite: bool, checkpoint: str | None) -> None:
    """See that no other run's files are overwritten, and take the folder.

    Args:
        trainer: of a fit that has not begun.
        overwrite: what is there may be replaced.
        checkpoint: from which the run goes on; a run may go on in its own folder.

    Raises:
        SettingError: names a folder that holds a run.
    """
    reserve(trainer)
    folder = folder_of(trainer)
    if folder is None or overwrite:
        return
    found = run_in(folder)
    logger = trainer.loggers[0]
    if found and not isinstance(logger, (CSVLogger, TensorBoardLogger)) and _is_of(folder, checkpoint):
        found = [name for name in found if name == "artifact"]
    if found:
        raise SettingError(
            f"{folder}: holds a run already ({', '.join(found)}). Leave out the logger's version or name another, "
            "or --overwrite to replace that run"
        )


def _is_of(folder: Path, checkpoint: str | None) -> bool:
    if checkpoint is None:
        return False
    return checkpoint.split(":")[0] in NAMED_CHECKPOINTS or Path(checkpoint).resolve().is_relative_to(folder.resolve())


def without_numbered_logs(trainer: Trainer) -> None:
    """Take away loggers that would make another ``version_N`` for a test, or delete what a run logged."""
    trainer.loggers = [logger for logger in trainer.loggers if not isinstance(logger, (CSVLogger, TensorBoardLogger))]
