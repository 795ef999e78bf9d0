"""Panels of Weights & Biases, by a logger that keeps what it is given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from lightning.pytorch.loggers import WandbLogger

from dyn_lightning.callbacks import ComplexityLogger
from dyn_lightning.report.wandb_report import HISTORY, KEPT, LAYERS, WandbReport


class KeepingLogger(WandbLogger):
    """Never starts a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.images: dict[str, list[Any]] = {}
        self.tables: dict[str, wandb.Table] = {}

    name = version = "kept"  # type: ignore[assignment]

    @property
    def save_dir(self) -> str:
        return self.folder

    def log_metrics(self, *args: Any, **options: Any) -> None: ...

    def log_hyperparams(self, *args: Any, **options: Any) -> None: ...

    def log_image(self, key: str, images: list[Any], *args: Any, **options: Any) -> None:
        self.images[key] = images

    def log_table(self, key: str, *args: Any, **options: Any) -> None:
        self.tables[key] = wandb.Table(*args, **options)

    def finalize(self, status: str) -> None: ...

    def after_save_checkpoint(self, *args: Any) -> None: ...


@pytest.fixture
def fit(make_module, make_trainer, data, tmp_path):
    def run(*callbacks, **options):
        logger, module = KeepingLogger(tmp_path / str(len([*tmp_path.iterdir()]))), make_module(**options)
        trainer = make_trainer(WandbReport(), *callbacks, max_epochs=2)
        trainer.loggers = [logger, *trainer.loggers]
        trainer.fit(module, data)
        return logger, module

    return run


def test_figures_and_layers_are_logged_when_the_fit_ends(fit):
    logger, module = fit(ComplexityLogger())
    assert logger.images.keys() == {HISTORY, KEPT}
    for (image,) in logger.images.values():
        assert np.asarray(image).std() > 0  # a picture that shows something
    table, rows = logger.tables[LAYERS], module.complexity.table()
    assert table.columns == list(rows[0])
    assert [row[0] for row in table.data] == [row["name"] for row in rows]
    after = table.columns.index("flops_per_call_after")
    assert sum(row[after] for row in table.data) == pytest.approx(module.complexity.flops_now())
    assert module.complexity.flops_now() < module.complexity.flops_full_size()


def test_what_is_not_there_is_not_logged(fit):
    assert fit()[0].images.keys() == {KEPT}
    logger, _ = fit(ComplexityLogger(), objective=None, dynamic=[])
    assert logger.images == {}
    assert logger.tables.keys() == {LAYERS}


def test_without_weights_and_biases_nothing_is_drawn(make_module, make_trainer, data, monkeypatch):
    monkeypatch.setattr("dyn_lightning.report.wandb_report.figures_of", lambda *_: pytest.fail("drew"))
    make_trainer(WandbReport(), max_epochs=1).fit(make_module(), data)
