"""A small run on the synthetic study's own network and data: a second or two on a CPU."""

from pathlib import Path
from typing import Any

import lightning
import pytest
from lightning.pytorch.loggers import CSVLogger

from dyn_lightning.data.synthetic_spectra import FilterBankDataModule
from dyn_lightning.models.filter_bank import FilterBankNet
from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import LambdaSquared
from dyn_lightning.tasks import Regression

BATCHES_PER_EPOCH = 4


@pytest.fixture
def data():
    return FilterBankDataModule(
        batch_size=8,
        batches_per_epoch=BATCHES_PER_EPOCH,
        eval_batches=2,
        n_freqs=65,
        n_mels=8,
        reading="readout",
    )


@pytest.fixture
def make_module():
    def make(**options: Any) -> DynamicModule:
        lightning.seed_everything(0)
        given = {"objective": LambdaSquared(beta=1.0), "lr_lam": 0.1, "lr": 1e-2, **options}
        return DynamicModule(
            FilterBankNet(65, n_bands=16, n_targets=8),
            Regression(),
            example_duration_s=None,
            example_shape=[1, 65],
            **given,
        )

    return make


@pytest.fixture
def make_trainer(tmp_path: Path):
    def make(*callbacks: lightning.Callback, max_epochs: int = 3, **options: Any) -> lightning.Trainer:
        return lightning.Trainer(
            max_epochs=max_epochs,
            accelerator="cpu",
            callbacks=list(callbacks),
            logger=CSVLogger(tmp_path, name="csv"),
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
            num_sanity_val_steps=0,
            **options,
        )

    return make
