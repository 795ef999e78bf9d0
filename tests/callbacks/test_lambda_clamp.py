"""LambdaClamp: limits and granularity."""

import pytest
import torch

from dyn_lightning.callbacks import LambdaClamp, PhaseSwitch


def test_lam_stays_within_its_limits(make_module, make_trainer, data):
    module = make_module(lr_lam=1.0)
    make_trainer(LambdaClamp(0.5), max_epochs=2).fit(module, data)
    (width,) = module.widths.values()
    assert width.theta.exp().item() == pytest.approx(0.5)
    assert width.size == 8


def test_lam_does_not_rise_above_one(make_module, make_trainer, data):
    module = make_module(lr_lam=1.0)
    module.objective.beta = -5.0  # pulls the widths up
    make_trainer(LambdaClamp(), max_epochs=1).fit(module, data)
    assert next(iter(module.widths.values())).theta.item() == 0.0


def test_patterns_and_granularity(make_module, make_trainer, data):
    module = make_module(lr_lam=1.0)
    clamp = LambdaClamp({"*": 0.1, "band*": 0.6}, multiple_of={"bands": 4})
    make_trainer(clamp, PhaseSwitch(0, 1), max_epochs=2).fit(module, data)
    (width,) = module.widths.values()
    assert width.multiple_of == 4
    assert width.lam_min == 0.6
    assert width.size == 8  # λ = 0.6 of 4 units of 4: 2 whole units


def test_a_unit_set_here_survives_a_checkpoint(make_module, make_trainer, data, tmp_path):
    module = make_module(lr_lam=1.0)
    trainer = make_trainer(LambdaClamp(0.6, multiple_of=4), PhaseSwitch(0, 1), max_epochs=2)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "x.ckpt", weights_only=False)
    loaded = make_module()
    content = torch.load(tmp_path / "x.ckpt", weights_only=True)
    loaded.on_load_checkpoint(content)
    loaded.load_state_dict(content["state_dict"])
    assert loaded.complexity.sizes_now == module.complexity.sizes_now == {"bands": 8}


def test_unknown_pattern_names_the_widths(make_module, make_trainer, data):
    with pytest.raises(ValueError, match="there are bands"):
        make_trainer(LambdaClamp({"conv*": 0.5})).fit(make_module(), data)


@pytest.mark.parametrize("lam_min", [0.0, 1.5])
def test_limit_outside_its_range(lam_min):
    with pytest.raises(ValueError, match="lam_min"):
        LambdaClamp(lam_min)
