"""Options of a trainer that cannot go together with learned sizes are one line before the fit."""

import pytest
import torch
from lightning.pytorch.callbacks import ModelPruning
from torch import nn

from dyn_lightning import DynamicModule
from dyn_lightning.callbacks import PhaseSwitch
from dyn_lightning.errors import SettingError
from dyn_lightning.module.trainer_checks import naming_precision
from dyn_lightning.objectives import FlopsBudget
from dyn_lightning.tasks import Regression


@pytest.mark.parametrize("dynamic", [None, []])
def test_pruning_is_for_networks_without_learned_sizes(make_module, make_trainer, data, dynamic):
    module = make_module(dynamic=dynamic)
    pruning = ModelPruning("l1_unstructured", amount=0.5, parameters_to_prune=[(module.network.bands, "weight")])
    trainer = make_trainer(pruning, max_epochs=1)
    if dynamic is None:
        with pytest.raises(SettingError, match="ModelPruning puts masks"):
            trainer.fit(module, data)
    else:
        trainer.fit(module, data)
        assert (module.network.bands.weight == 0).float().mean() >= 0.45


def test_a_module_compiled_from_outside_is_told_the_way(make_module, make_trainer, data):
    with pytest.raises(SettingError, match=r"DynamicModule\(…, compile=True\)"):
        make_trainer(PhaseSwitch(0, 1), max_epochs=1).fit(torch.compile(make_module()), data)


def test_synchronised_norms_are_named(make_trainer):
    backbone = nn.Sequential(nn.Linear(65, 16), nn.BatchNorm1d(16), nn.Linear(16, 8))
    module = DynamicModule(
        backbone, Regression(), FlopsBudget(share=0.5), example_duration_s=None, example_shape=[2, 65]
    )
    trainer = make_trainer(PhaseSwitch(0, 1), max_epochs=1, strategy="ddp", sync_batchnorm=True)
    module.trainer = trainer
    with pytest.raises(SettingError, match="sync_batchnorm would replace 1, which follows"):
        module.setup("fit")


def test_an_operation_that_half_precision_lacks_is_named():
    audio = torch.randn(64, dtype=torch.float16)
    with (
        pytest.raises(SettingError, match=r"^precision 16-true: an operation .*Half.* Use precision bf16-mixed"),
        naming_precision("16-true"),
    ):
        torch.fft.rfft(audio)
    with pytest.raises(RuntimeError, match="Half"), naming_precision("32-true"):
        torch.fft.rfft(audio)
    with pytest.raises(RuntimeError, match=r"shapes|size"), naming_precision("16-true"):
        torch.ones(2, 3) @ torch.ones(2, 3)
