"""Panels of Weights & Biases, by a logger that keeps what it is given and by runs offline."""

import json
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
import wandb
from lightning.pytorch.loggers import WandbLogger
from torch import nn
from torch.utils.data import DataLoader

from dyn_lightning.callbacks import ComplexityLogger
from dyn_lightning.callbacks.wandb_report import DET, HISTORY, KEPT, LAYERS, WandbReport
from dyn_lightning.metrics.eer import eer
from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import LambdaSquared
from dyn_lightning.tasks import FrameDetection, SpoofDetection


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
    monkeypatch.setattr("dyn_lightning.callbacks.wandb_report.figures_of", lambda *_: pytest.fail("drew"))
    make_trainer(WandbReport(), max_epochs=1).fit(make_module(), data)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A logger whose run is a real one of W&B, kept below ``tmp_path``; ended after the test."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.finish()
    yield WandbLogger(project="small", save_dir=tmp_path)
    wandb.finish()


def utterances(n: int, n_frames: int | None) -> list[dict[str, Any]]:
    """Noise that is louder where it is bona fide, or in frames with speech."""
    torch.manual_seed(0)
    items = []
    for number in range(n):
        target = torch.tensor(number % 2) if n_frames is None else (torch.arange(n_frames) + number) % 2
        audio = torch.randn(16) * (1 + target.float().mean())
        snr_db = torch.tensor(2.0 if number < n // 2 else 20.0)
        meta = {"system": f"A0{1 + number % 3}"} if n_frames is None else {"snr_db": snr_db}
        items.append({"audio": audio, "target": target, "meta": meta})
    return items


def run_offline(task, n_outputs, n_frames, make_trainer, logger):
    """A fit and a test; gives scores, targets and the module."""
    network = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, n_outputs))
    objective = LambdaSquared(beta=1.0)
    module = DynamicModule(network, task, objective, example_duration_s=None, example_shape=[1, 16], lr_lam=0.1)
    items = utterances(24, n_frames)
    trainer = make_trainer(WandbReport(), ComplexityLogger(), max_epochs=2)
    trainer.loggers = [logger]
    trainer.fit(module, DataLoader(items, batch_size=4))
    trainer.test(module, DataLoader(items, batch_size=5), verbose=False)
    with torch.no_grad():
        return module(torch.stack([item["audio"] for item in items])), items


def logged(tmp_path: Path, kind: str, key: str) -> Path:
    (path,) = tmp_path.glob(f"wandb/offline-run-*/files/media/{kind}/{key}_*")
    return path


def test_a_spoofing_test_logs_attacks_and_curves_to_a_run_of_wandb(make_trainer, offline, tmp_path):
    output, items = run_offline(SpoofDetection(), 2, None, make_trainer, offline)
    scores, targets = output[:, 1] - output[:, 0], torch.stack([item["target"] for item in items])
    table = json.loads(logged(tmp_path, "table", "report/attacks").read_text())
    assert table["columns"][2:] == ["A01", "A02", "A03"]
    for attack, found in zip(table["columns"][2:], table["data"][0][2:], strict=True):
        own = torch.tensor([item["meta"]["system"] == attack or int(item["target"]) == 1 for item in items])
        expected = eer(scores[own], targets[own], convention="asvspoof2019")[0]
        assert found == pytest.approx(100 * expected, abs=1e-3)
    for key in (DET, KEPT, HISTORY):
        assert matplotlib.image.imread(logged(tmp_path, "images", key)).std() > 0.02
    layers = json.loads(logged(tmp_path, "table", LAYERS).read_text())
    assert [row[0] for row in layers["data"]] == ["0", "1", "2"]
    assert not list(tmp_path.glob("wandb/*/files/media/table/report/snr*"))


def test_a_detection_test_logs_errors_by_snr_to_a_run_of_wandb(make_trainer, offline, tmp_path):
    scores, items = run_offline(FrameDetection(), 4, 4, make_trainer, offline)
    targets = torch.stack([item["target"] for item in items])
    table = json.loads(logged(tmp_path, "table", "report/snr").read_text())
    found = dict(zip(table["columns"], table["data"][0], strict=True))
    for label, chosen in {"<5": slice(0, 12), "15-25": slice(12, 24)}.items():
        assert found[label] == pytest.approx(100 * eer(scores[chosen], targets[chosen])[0], abs=1e-3)
    assert not list(tmp_path.glob("wandb/*/files/media/images/report/det*"))


def test_a_test_with_one_class_has_no_curve(make_trainer, offline, tmp_path):
    module = DynamicModule(
        nn.Linear(16, 2), SpoofDetection(), dynamic=[], example_duration_s=None, example_shape=[1, 16]
    )
    trainer = make_trainer(WandbReport())
    trainer.loggers = [offline]
    trainer.test(module, DataLoader(utterances(24, None)[1::2], batch_size=4), verbose=False)
    assert not list(tmp_path.glob("wandb/*/files/media/images/*"))
