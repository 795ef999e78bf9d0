"""What ships of runs that do not end as planned: within the budget, with its own threshold, or not at all."""

import json

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn

from dyn_lightning.artifact import load_artifact
from dyn_lightning.callbacks import (
    BatchNormReestimation,
    ComplexityLogger,
    Consolidate,
    LambdaClamp,
    PhaseSwitch,
    WidthsCheckpoint,
)
from dyn_lightning.callbacks.final_checkpoint import final_checkpoint, has_final_sizes
from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import FlopsBudget
from dyn_lightning.tasks import Regression
from dyn_lightning.tasks.regression import RegressionMetrics


class Scored(Regression):
    """Its threshold is the mean output over the validation set: easy to measure by other means."""

    def new_metrics(self):
        return ScoredMetrics()


class ScoredMetrics(RegressionMetrics):
    def __init__(self):
        super().__init__()
        self.outputs = []

    def update(self, output, batch):
        super().update(output, batch)
        self.outputs.append(output.detach())

    def compute(self):
        return {**super().compute(), "threshold": torch.cat(self.outputs).mean()}


class StopAfter(ModelCheckpoint):
    """Ends the run at a step, as ``max_time`` and a Timer do."""

    def __init__(self, steps):
        super().__init__(save_top_k=0)
        self.steps = steps

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step >= self.steps:
            trainer.should_stop = True


@pytest.fixture
def budgeted(make_module):
    module = make_module(objective=FlopsBudget(share=0.25), lr_lam=0.05)
    module.task = Scored()
    return module


def check_shipped(folder, module, data):
    """The budget is kept and said, and the threshold is that of the network in the folder."""
    network, metadata = load_artifact(folder)
    report = json.loads((folder / "report.json").read_text())
    complexity = module.complexity
    cost = 2.0 * network.bands.out_features * (65 + 8)  # multiply-adds of two linear layers
    assert report["flops"] == pytest.approx(cost, rel=0.05)
    assert report["flops"] <= report["budget"] == 0.25 * complexity.learnable_flops() + complexity.fixed_flops()
    assert report["within_budget"]
    assert report["budget_asked"] == "share=0.25"
    assert report["share_of_all"] == report["flops"] / report["flops_before"]
    data.setup("validate")
    with torch.no_grad():
        mean = torch.cat([network(batch["input"]) for batch in data.val_dataloader()]).mean()
    assert metadata["threshold"] == pytest.approx(mean.item(), rel=1e-4)
    assert metadata["threshold_measured"] is True
    return report


@pytest.mark.parametrize("options", [{}, {"save_top_k": 3}, {"save_top_k": -1}, {"save_last": True}, {"monitor": None}])
def test_lightnings_own_checkpoints_ship_the_final_sizes(budgeted, make_trainer, data, tmp_path, options):
    """Worst loss first, so that without care the warm-up's network would be the best one or the other way round."""
    stock = ModelCheckpoint(dirpath=tmp_path, **{"monitor": "val/loss", "mode": "min", **options})
    callbacks = PhaseSwitch(2, 1), LambdaClamp(), stock, Consolidate(str(tmp_path / "a"))
    trainer = make_trainer(*callbacks, max_epochs=5)
    trainer.fit(budgeted, data)
    report = check_shipped(tmp_path / "a", budgeted, data)
    assert report["sizes_final"]
    assert report["remarks"] == []
    chosen = final_checkpoint(trainer)
    assert not chosen or has_final_sizes(chosen)


def test_the_best_of_several_final_checkpoints_ships(budgeted, make_trainer, data, tmp_path):
    stock = ModelCheckpoint(dirpath=tmp_path, monitor="val/loss", mode="max", save_top_k=-1)
    trainer = make_trainer(PhaseSwitch(1, 1), LambdaClamp(), stock, Consolidate(str(tmp_path / "a")), max_epochs=5)
    trainer.fit(budgeted, data)
    final = {path: score for path, score in stock.best_k_models.items() if has_final_sizes(path)}
    assert 2 <= len(final) < len(stock.best_k_models)
    assert final_checkpoint(trainer) == max(final, key=final.get)
    check_shipped(tmp_path / "a", budgeted, data)


@pytest.mark.parametrize("checkpoint", [WidthsCheckpoint, lambda: ModelCheckpoint(monitor="val/loss")])
def test_a_run_that_ends_in_the_warm_up_ships_nothing(budgeted, make_trainer, data, tmp_path, checkpoint):
    stop = EarlyStopping("val/loss", patience=1, min_delta=1e9)
    callbacks = PhaseSwitch(4, 1), LambdaClamp(), checkpoint(), stop, Consolidate(str(tmp_path / "a"))
    with pytest.raises(ValueError, match=r"not learned yet.*full size, 2336 FLOPs per call.*--share 0\.25"):
        make_trainer(*callbacks, max_epochs=8).fit(budgeted, data)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("checkpoint", [WidthsCheckpoint, lambda: ModelCheckpoint(monitor="val/loss")])
@pytest.mark.parametrize("steps", [8, 10])
def test_a_run_that_ends_in_the_search_is_cut_and_says_so(budgeted, make_trainer, data, tmp_path, checkpoint, steps):
    stop = StopAfter(steps)
    callbacks = (
        PhaseSwitch(1, 5),
        LambdaClamp(),
        ComplexityLogger(),
        checkpoint(),
        stop,
        Consolidate(str(tmp_path / "a")),
    )
    with pytest.warns(UserWarning, match="training ended in the search"):
        make_trainer(*callbacks, max_epochs=8).fit(budgeted, data)
    assert budgeted.phase == "search"
    report = check_shipped(tmp_path / "a", budgeted, data)
    assert not report["sizes_final"]
    assert "not final" in report["remarks"][0]
    assert "not final" in (tmp_path / "a" / "README.md").read_text()


def test_a_score_from_before_the_sizes_were_final_chooses_nothing(budgeted, make_trainer, data, tmp_path):
    """Validated every third epoch: after the third, still in the search, and after the sixth."""
    checkpoint = WidthsCheckpoint()
    trainer = make_trainer(
        PhaseSwitch(1, 3),
        LambdaClamp(),
        checkpoint,
        Consolidate(str(tmp_path / "a")),
        max_epochs=6,
        check_val_every_n_epoch=3,
    )
    trainer.fit(budgeted, data)
    assert torch.load(checkpoint.best_model_path, weights_only=True)["epoch"] == 5
    check_shipped(tmp_path / "a", budgeted, data)


def test_sizes_that_were_final_above_a_new_budget_are_said(make_module, make_trainer, data, tmp_path):
    checkpoint = WidthsCheckpoint()
    first = make_module(objective=FlopsBudget(share=0.5), lr_lam=0.05)
    make_trainer(PhaseSwitch(0, 1), LambdaClamp(), checkpoint, max_epochs=2).fit(first, data)
    second = make_module(objective=FlopsBudget(share=0.25), lr_lam=0.05)
    callbacks = PhaseSwitch(0, 1), LambdaClamp(), WidthsCheckpoint(), Consolidate(str(tmp_path / "a"))
    with pytest.warns(UserWarning, match="ABOVE ITS BUDGET"):
        make_trainer(*callbacks, max_epochs=3).fit(second, data, ckpt_path=checkpoint.last_model_path)
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["within_budget"] is False
    assert report["flops"] > report["budget"]
    assert "ABOVE ITS BUDGET" in (tmp_path / "a" / "README.md").read_text()


def test_a_network_that_answers_nan_does_not_ship(budgeted, make_trainer, data, tmp_path):
    class Spoil(StopAfter):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if trainer.global_step == 20:
                with torch.no_grad():
                    module.network.readout.weight.fill_(float("nan"))

    callbacks = PhaseSwitch(1, 1), LambdaClamp(), Spoil(0), Consolidate(str(tmp_path / "a"))
    with pytest.raises(ValueError, match="outputs are NaN"):
        make_trainer(*callbacks, max_epochs=5).fit(budgeted, data)
    assert not (tmp_path / "a").exists()


def test_batch_norm_is_estimated_for_the_sizes_that_ship(make_trainer, data, tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(65, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, 12),
        nn.BatchNorm1d(12),
        nn.ReLU(),
        nn.Linear(12, 8),
    )
    module = DynamicModule(
        network, Scored(), FlopsBudget(share=0.25), lr_lam=0.03, example_duration_s=None, example_shape=[2, 65]
    )
    statistics, consolidate = BatchNormReestimation(batches=8), Consolidate(str(tmp_path / "a"))
    make_trainer(PhaseSwitch(0, 5), LambdaClamp(), statistics, StopAfter(8), consolidate, max_epochs=8).fit(
        module, data
    )
    inputs = torch.cat(statistics.recent_inputs)
    small, _ = load_artifact(
        tmp_path / "a",
        backbone=nn.Sequential(
            *(
                type(m)(*a)
                for m, a in [
                    (nn.Linear(1, 1), (65, 16)),
                    (nn.BatchNorm1d(1), (16,)),
                    (nn.ReLU(), ()),
                    (nn.Linear(1, 1), (16, 12)),
                    (nn.BatchNorm1d(1), (12,)),
                    (nn.ReLU(), ()),
                    (nn.Linear(1, 1), (12, 8)),
                ]
            )
        ),
    )
    hidden = torch.relu(small[1](small[0](inputs)))
    torch.testing.assert_close(small[4].running_mean, small[3](hidden).mean(0), rtol=0.2, atol=0.02)
