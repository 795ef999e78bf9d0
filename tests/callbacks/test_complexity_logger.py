"""ComplexityLogger: what lands in the logs is what the network costs."""

import csv
from pathlib import Path

import pytest
import torch

from dyn_lightning.callbacks import ComplexityLogger, LambdaClamp, PhaseSwitch


def test_logged_values_follow_the_widths(make_module, make_trainer, data, tmp_path):
    module, logger = make_module(), ComplexityLogger()
    make_trainer(PhaseSwitch(1, 1), LambdaClamp(), logger, max_epochs=3).fit(module, data)
    history = logger.history
    assert history["step"] == list(range(13))
    # Two linear layers without bias, 65 → K → 8: 2 FLOPs a weight, one call.
    for size, flops, parameters in zip(
        history["width/bands/size"],
        history["complexity/flops_per_call"],
        history["complexity/parameters"],
        strict=True,
    ):
        assert flops == pytest.approx((2 * 65 - 1) * size + (2 * size - 1) * 8, rel=0.02)
        assert parameters == 65 * size + size * 8
    assert history["width/bands/size"][4] == 16
    assert history["width/bands/size"][-1] == module.widths["bands"].size < 16
    for lam, k in zip(history["width/bands/lam"], history["width/bands/k"], strict=True):
        assert k == pytest.approx(16 * lam)
    (path,) = Path(tmp_path).rglob("metrics.csv")
    rows = [row for row in csv.DictReader(path.open()) if row["width/bands/size"]]
    assert [float(row["width/bands/size"]) for row in rows] == history["width/bands/size"][1:]
    assert all(row["train/loss"] for row in rows)  # one row a step, not two


def test_at_both_ends_and_where_logs_are_written(make_module, make_trainer, data):
    logger = ComplexityLogger()
    trainer = make_trainer(logger, max_epochs=3)
    trainer.log_every_n_steps = 5
    trainer.fit(make_module(), data)
    assert logger.history["step"] == [0, 5, 10, 12]


def test_history_survives_a_checkpoint(make_module, make_trainer, data, tmp_path):
    first = make_trainer(ComplexityLogger(), max_epochs=1)
    first.fit(make_module(), data)
    first.save_checkpoint(tmp_path / "x.ckpt", weights_only=False)
    logger = ComplexityLogger()
    make_trainer(logger, max_epochs=2).fit(make_module(), data, ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    assert logger.history["step"] == list(range(9))


def test_a_baseline_logs_its_cost(make_module, make_trainer, data):
    logger = ComplexityLogger()
    make_trainer(logger, max_epochs=1).fit(make_module(dynamic=[]), data)
    assert set(logger.history) == {
        "step",
        "complexity/flops_per_call",
        "complexity/flops_per_call_paper",
        "complexity/parameters",
    }
    assert logger.history["complexity/parameters"] == [65 * 16 + 16 * 8] * 5


def test_measuring_reads_widths_once_for_all(make_module):
    module, logger = make_module(), ComplexityLogger()
    row = logger.measure(module)
    module.widths["bands"].set_lam(0.5)
    assert row["width/bands/size"] == 16
    half = logger.measure(module)
    assert half["width/bands/size"] == 8
    assert half["complexity/flops_per_call"] < row["complexity/flops_per_call"]
    assert all(isinstance(v, float) and not isinstance(v, torch.Tensor) for v in half.values())
