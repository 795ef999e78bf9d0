"""Weight averaging: the sizes that the budget asks for, and weights that are the average of one network's."""

import json

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, StochasticWeightAveraging, WeightAveraging
from torch import nn
from torch.utils.data import DataLoader

from dyn_lightning import DynamicModule
from dyn_lightning.artifact import load_artifact
from dyn_lightning.callbacks import Consolidate, LambdaClamp, PhaseSwitch, Reorder, WidthsCheckpoint
from dyn_lightning.module.artifact import load_checkpoint
from dyn_lightning.objectives import FlopsBudget
from dyn_lightning.tasks import Classification

STEPS, SETTLED_AT = 4, 12  # an epoch; a warm-up of one epoch and a search of two


class Items(torch.utils.data.Dataset):
    def __len__(self):
        return 8 * STEPS

    def __getitem__(self, i):
        x = torch.randn(8, 20, generator=torch.Generator().manual_seed(i))
        x[i % 4] += 1.0
        return {"audio": x, "target": i % 4}


class Weights(Callback):
    """Keeps the weights after every step; stands before the averaging."""

    def __init__(self):
        self.seen = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen[trainer.global_step] = {n: p.detach().clone() for n, p in pl_module.network.named_parameters()}


def module():
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv1d(8, 16, 3), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 16, 3), nn.Flatten(), nn.Linear(256, 4)
    )
    return DynamicModule(
        backbone,
        Classification(),
        FlopsBudget(share=0.25),
        lr_lam=0.1,
        example_duration_s=None,
        example_shape=[1, 8, 20],
    )


def fit(make_trainer, *callbacks, **options):
    made = module()
    trainer = make_trainer(PhaseSwitch(1, 2), Reorder(1), LambdaClamp(), *callbacks, max_epochs=5)
    trainer.fit(made, DataLoader(Items(), batch_size=8), DataLoader(Items(), batch_size=32), **options)
    return made


AVERAGES = {
    "ema": lambda: EMAWeightAveraging(decay=0.999),
    "ema every third": lambda: EMAWeightAveraging(decay=0.9, update_every_n_steps=3, use_buffers=False),
    "mean": lambda: WeightAveraging(),
    "stochastic": lambda: StochasticWeightAveraging(swa_lrs=1e-3, swa_epoch_start=2),
}


@pytest.mark.parametrize("name", AVERAGES)
def test_a_run_ends_at_the_budget(make_trainer, tmp_path, name):
    consolidate = Consolidate(str(tmp_path / "artifact"))
    made = fit(make_trainer, AVERAGES[name](), WidthsCheckpoint(), consolidate)
    assert made.phase == "settle"
    report = json.loads((tmp_path / "artifact" / "report.json").read_text())
    assert 0.2 < report["share_of_learnable"] <= 0.25
    assert report["within_budget"]
    assert {n: s for n, (s, _) in consolidate.report.sizes.items()} == made.complexity.sizes_now
    network, _ = load_artifact(tmp_path / "artifact")
    assert all(torch.isfinite(p).all() for p in network.parameters())
    lam = [w.lam.item() for w in made.widths.values()]
    assert lam == pytest.approx([w.size / w.full_size for w in made.widths.values()])


@pytest.mark.parametrize("use_buffers", [True, False])
def test_a_mean_is_of_the_weights_since_the_sizes_are_final(make_trainer, use_buffers):
    seen = Weights()
    made = fit(make_trainer, seen, WeightAveraging(use_buffers=use_buffers))
    steps = range(SETTLED_AT + 1, 5 * STEPS + 1)
    for name, parameter in made.network.named_parameters():
        if not name.startswith("widths"):
            mean = torch.stack([seen.seen[step][name] for step in steps]).mean(0)
            torch.testing.assert_close(parameter, mean)


def test_checkpoints_hold_the_average_and_a_run_goes_on_from_them(make_trainer, tmp_path):
    keep = ModelCheckpoint(dirpath=tmp_path / "kept", save_top_k=-1, every_n_epochs=1, filename="{epoch}")
    whole = fit(make_trainer, EMAWeightAveraging(decay=0.9), keep)
    in_search, settled = (tmp_path / "kept" / f"epoch={epoch}.ckpt" for epoch in (1, 3))
    loaded = module()
    load_checkpoint(loaded, str(settled))
    assert loaded.phase == "settle"
    assert loaded.complexity.sizes_now == whole.complexity.sizes_now
    for path in (in_search, settled):
        again = fit(make_trainer, EMAWeightAveraging(decay=0.9), ckpt_path=str(path))
        for a, b in zip(again.network.state_dict().values(), whole.network.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b)


def test_validation_in_between_sees_the_modules_own_sizes(make_trainer):
    sizes = []

    class Look(Callback):
        def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
            sizes.append((pl_module.phase, pl_module._phase.item(), pl_module.complexity.sizes_now))

        def on_train_epoch_end(self, trainer, pl_module):
            assert sizes[-1] == (pl_module.phase, pl_module._phase.item(), pl_module.complexity.sizes_now)

    fit(make_trainer, EMAWeightAveraging(decay=0.99), Look())
    assert [phase for phase, _, _ in sizes] == ["warmup", "search", "settle", "settle", "settle"]
