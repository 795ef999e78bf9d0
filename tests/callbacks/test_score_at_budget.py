import csv
from pathlib import Path

import lightning
import pytest
from lightning.pytorch.demos.boring_classes import BoringModel

from dyn_lightning.callbacks import PhaseSwitch, WidthsCheckpoint
from dyn_lightning.callbacks.score_at_budget import ScoreAtBudget, score_at_budget
from dyn_lightning.errors import SettingError
from dyn_lightning.objectives import FlopsBudget


def test_flops_are_free_up_to_the_budget():
    assert score_at_budget(0.06, 50.0, 100.0, 0.1) == 0.06
    assert score_at_budget(0.06, 100.0, 100.0, 0.1) == 0.06
    assert score_at_budget(0.06, 150.0, 100.0, 0.1) == pytest.approx(0.06 + 0.05)
    assert score_at_budget(0.06, 400.0, 100.0, 0.1) == pytest.approx(0.06 + 0.3)


def rows(trainer: lightning.Trainer) -> list[dict[str, str]]:
    with open(Path(trainer.log_dir, "metrics.csv")) as file:
        return list(csv.DictReader(file))


def test_only_final_sizes_are_scored(make_module, make_trainer, data, tmp_path):
    score = ScoreAtBudget("val/l1", share=0.1, weight=2.0)
    checkpoint = WidthsCheckpoint("val/l1", dirpath=str(tmp_path / "kept"))
    trainer = make_trainer(PhaseSwitch(1, 1), score, checkpoint, max_epochs=4)
    module = make_module()
    trainer.fit(module, data)
    complexity = module.complexity
    budget = complexity.fixed_flops() + 0.1 * complexity.learnable_flops()
    assert complexity.flops_now() > budget
    charge = 2.0 * (complexity.flops_now() / budget - 1)
    logged = rows(trainer)
    scores = {int(row["step"]): float(row["val/l1_at_budget"]) for row in logged if row["val/l1_at_budget"]}
    errors = {int(row["step"]): float(row["val/l1"]) for row in logged if row["val/l1"]}
    assert list(scores) == [7, 11, 15]  # sizes freeze at the end of the second epoch of four steps
    assert scores == pytest.approx({step: errors[step] + charge for step in scores})
    # The sizes being the same, the checkpoint of the least error has the least score, and a validation gives it again.
    trainer.validate(module, data, ckpt_path=checkpoint.best_model_path, weights_only=True)
    assert float(trainer.callback_metrics["val/l1_at_budget"]) == pytest.approx(min(scores.values()))


def test_a_network_of_fixed_sizes_is_scored_from_the_start(make_module, make_trainer, data):
    module = make_module(dynamic=[], objective=None)
    budget = module.complexity.flops_now() / 2
    trainer = make_trainer(ScoreAtBudget("val/l1", flops_per_second=budget, weight=0.5), max_epochs=1)
    trainer.fit(module, data)
    found = trainer.callback_metrics
    assert float(found["val/l1_at_budget"]) == pytest.approx(float(found["val/l1"]) + 0.5)


def test_a_share_of_nothing_is_refused(make_module, make_trainer, data):
    trainer = make_trainer(ScoreAtBudget("val/l1", share=0.5), max_epochs=1)
    with pytest.raises(ValueError, match="give flops_per_second"):
        trainer.fit(make_module(dynamic=[], objective=None), data)


def test_bad_arguments(make_module, make_trainer, data):
    with pytest.raises(ValueError, match="as one of share, share_of_all, flops_per_second"):
        ScoreAtBudget()
    with pytest.raises(ValueError, match="flops_per_second must be positive, got 0"):
        ScoreAtBudget(flops_per_second=0.0)
    with pytest.raises(ValueError, match="weight must be 0 or more"):
        ScoreAtBudget(share=0.5, weight=-1.0)
    trainer = make_trainer(ScoreAtBudget("val/eer", flops_per_second=1.0), max_epochs=1)
    with pytest.raises(ValueError, match=r"monitor='val/eer' is not logged; there are .*val/l1"):
        trainer.fit(make_module(dynamic=[], objective=None), data)
    with pytest.raises(TypeError, match="needs a DynamicModule"):
        make_trainer(ScoreAtBudget(share=0.5)).fit(BoringModel())


@pytest.mark.filterwarnings("ignore:dynamize")
def test_what_has_no_price_is_refused_unless_allowed(make_module, make_trainer, data):
    module = make_module()
    module.complexity.uncounted = ("bands.matrix_exp (matrix_exp)",)
    with pytest.raises(SettingError, match=r"no price.*allow_uncounted: \[matrix_exp\]"):
        make_trainer(ScoreAtBudget("val/l1", share=0.5), max_epochs=1).fit(module, data)
    make_trainer(ScoreAtBudget("val/l1", share=0.5, allow_uncounted=["matrix_exp"]), fast_dev_run=True).fit(
        module, data
    )
    module = make_module(objective=FlopsBudget(share=0.5, allow_uncounted=["bands.*"]))
    module.complexity.uncounted = ("bands.matrix_exp (matrix_exp)",)
    make_trainer(ScoreAtBudget("val/l1", share=0.5), fast_dev_run=True).fit(module, data)
    with pytest.raises(SettingError, match="list"):
        ScoreAtBudget(share=0.5, allow_uncounted="matrix_exp")
