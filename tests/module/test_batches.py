"""Callbacks that read batches for themselves get what training steps get: hooks, names, precision."""

import pytest
import torch
from lightning import LightningDataModule
from lightning.pytorch.utilities import CombinedLoader
from torch import nn
from torch.utils.data import DataLoader

from dyn_lightning import DynamicModule
from dyn_lightning.artifact import load_artifact
from dyn_lightning.callbacks import BatchNormReestimation, Consolidate, LambdaClamp, PhaseSwitch, Reorder
from dyn_lightning.cli.consolidate import consolidate_checkpoint
from dyn_lightning.errors import SettingError
from dyn_lightning.module.artifact import load_checkpoint
from dyn_lightning.objectives import FlopsBudget
from dyn_lightning.tasks import Classification


class Raw(torch.utils.data.Dataset):
    """Integers and a label in a tuple, as a corpus has them."""

    def __len__(self):
        return 24

    def __getitem__(self, i):
        x = torch.randn(8, 20, generator=torch.Generator().manual_seed(i))
        return (1000 * x).to(torch.int16), i % 4


class Finished(LightningDataModule):
    """Makes batches on the device, and asks the trainer what for."""

    def __init__(self, names=False):
        super().__init__()
        self.names, self.asked = names, []

    def loader(self):
        return DataLoader(Raw(), batch_size=8)

    def train_dataloader(self):
        return CombinedLoader({"a": self.loader(), "b": self.loader()}, "min_size") if self.names else self.loader()

    def val_dataloader(self):
        return {"a": self.loader(), "b": self.loader()} if self.names else self.loader()

    def on_after_batch_transfer(self, batch, dataloader_idx):
        self.asked.append("training" if self.trainer.training else "not training")
        x, y = batch["a"] if isinstance(batch, dict) else batch
        return {"audio": x.to(self.trainer.model.dtype) / 1000, "target": y}


def module(**options):
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv1d(8, 16, 3), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 16, 3), nn.Flatten(), nn.Linear(256, 4)
    )
    given = {"lr_lam": 0.1, "example_duration_s": None, "example_shape": [1, 8, 20], **options}
    return DynamicModule(backbone, Classification(), FlopsBudget(share=0.25), **given)


def callbacks(tmp_path):
    return PhaseSwitch(1, 1), Reorder(2), LambdaClamp(), BatchNormReestimation(2), Consolidate(str(tmp_path / "a"))


@pytest.mark.parametrize("names", [False, True])
def test_batches_go_through_the_hooks(make_trainer, tmp_path, names):
    made, data = module(), Finished(names)
    trainer = make_trainer(*callbacks(tmp_path), max_epochs=3)
    trainer.fit(made, datamodule=data)
    network, _ = load_artifact(tmp_path / "a")
    x = torch.randn(3, 8, 20)
    torch.testing.assert_close(network(x), trainer.callbacks[4].small.eval()(x))
    # Validation, and what consolidation read of it at the end, are no training; 3 epochs of 3 and 2 for Reorder are.
    assert data.asked.count("training") == 3 * 3 + 2
    assert data.asked[-1] == "not training"


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
def test_what_ships_of_any_precision_takes_float32(make_trainer, tmp_path, precision):
    made = module()
    make_trainer(*callbacks(tmp_path), max_epochs=3, precision=precision).fit(made, datamodule=Finished())
    network, _ = load_artifact(tmp_path / "a")
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    x = torch.randn(3, 8, 20)
    torch.testing.assert_close(network(x), made.float().eval()(x))
    assert all(w.theta.dtype != torch.bfloat16 for w in made.widths.values())


def test_half_precision_that_would_divide_by_zero_is_refused_before_training(make_trainer):
    with pytest.raises(SettingError, match=r"eps=1e-08 is zero in float16.*16-mixed"):
        make_trainer(PhaseSwitch(1, 1), max_epochs=2, precision="16-true").fit(module(), datamodule=Finished())


def test_a_failure_at_the_end_leaves_a_checkpoint_and_names_the_command(make_trainer, tmp_path):
    class Broken(Consolidate):
        def _write(self, *args):
            raise OSError("the disk went away")

    made = module()
    trainer = make_trainer(PhaseSwitch(1, 1), LambdaClamp(), Broken(), max_epochs=3, enable_checkpointing=False)
    with pytest.raises(RuntimeError, match=r"OSError: the disk went away.*consolidate --ckpt_path ") as told:
        trainer.fit(made, datamodule=Finished())
    again = module()
    load_checkpoint(again, str(told.value).rpartition("--ckpt_path ")[2])
    assert again.complexity.sizes_now == made.complexity.sizes_now
    data = Finished(names=True)
    data.trainer = trainer
    small, report = consolidate_checkpoint(again, tmp_path / "later", data)
    assert report.batches == 3
    assert (tmp_path / "later" / "model.safetensors").is_file()
    assert {p.dtype for p in small.parameters()} == {torch.float32}
