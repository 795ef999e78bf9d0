"""A fit that is killed and resumed ends as the one that was not."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

SCRIPT = """
import json, os, signal, sys
import lightning, torch
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader
from dyn_lightning.callbacks import *
from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import FlopsBudget
from dyn_lightning.tasks import Regression

torch.set_num_threads(1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 24, 3)
        self.norm = nn.BatchNorm1d(24)
        self.drop = nn.Dropout(0.2)
        self.gru = nn.GRU(24, 32, batch_first=True)
        self.out = nn.Linear(32, 3)

    def forward(self, x):
        x = self.drop(torch.relu(self.norm(self.conv(x))))
        return self.out(self.gru(x.transpose(1, 2))[0])


class Data(lightning.LightningDataModule):
    def loader(self, shuffle):
        generator = torch.Generator().manual_seed(7)
        x = torch.randn(40, 4, 12, generator=generator)
        items = [{"input": a, "target": a[:3, :10].T} for a in x]
        return DataLoader(items, batch_size=4, shuffle=shuffle)  # order from the global generator

    def train_dataloader(self):
        return self.loader(True)

    def val_dataloader(self):
        return self.loader(False)


class Kill(lightning.Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def fit(folder, kill_at, resume):
    lightning.seed_everything(0)
    module = DynamicModule(
        Net(), Regression(), FlopsBudget(share=0.3), example_duration_s=None, example_shape=[1, 4, 12],
        optimizer=torch.optim.AdamW, weight_decay=0.01, lr=3e-3, lr_lam=0.04,
    )
    history = ComplexityLogger()
    checkpoint = WidthsCheckpoint(dirpath=folder + "/checkpoints")
    phases, clamp, norms = PhaseSwitch(1, 3), LambdaClamp(), BatchNormReestimation(2)
    trainer = lightning.Trainer(
        max_epochs=6, accelerator="cpu", logger=CSVLogger(folder), enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=1,
        callbacks=[Kill(kill_at), phases, clamp, norms, history, checkpoint],
    )
    last = folder + "/checkpoints/last.ckpt"
    trainer.fit(module, Data(), ckpt_path=last if resume else None, weights_only=True)
    torch.save(
        {
            "weights": module.state_dict(),
            "sizes": module.complexity.sizes_now,
            "history": history.history,
            "best": float(checkpoint.best_model_score),
            "drawn": torch.randn(4),
        },
        folder + "/end.pt",
    )


# Each fit in a process of its own; they share the imports, which take longest.
for folder, kill_at, resume in json.loads(sys.argv[1]):
    child = os.fork()
    if child == 0:
        fit(folder, kill_at, resume)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, dict]:
    """What an uninterrupted run leaves, and one that is killed thrice."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "script.py").write_text(SCRIPT)
    whole, parts = folder / "whole", folder / "parts"
    # 10 steps an epoch, warmup until 10, search until 40: killed in its first epoch, in its last, in settle.
    fits = [(whole, -1, False), (parts, 17, False), (parts, 33, True), (parts, 52, True), (parts, -1, True)]
    arguments = json.dumps([(str(path), kill_at, resume) for path, kill_at, resume in fits])
    done = subprocess.run(
        [sys.executable, str(folder / "script.py"), arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    killed = -signal.SIGKILL
    codes = [line for line in done.stdout.splitlines() if line.lstrip("-").isdigit()]
    assert codes == [str(code) for code in (0, killed, killed, killed, 0)], done.stderr
    first, second = (torch.load(path / "end.pt", weights_only=True) for path in (whole, parts))
    return first, second


def test_a_killed_and_resumed_run_ends_as_if_it_had_not_been(ends: tuple[dict, dict]) -> None:
    uninterrupted, resumed = ends
    assert resumed["sizes"] == uninterrupted["sizes"]
    assert resumed["weights"].keys() == uninterrupted["weights"].keys()
    for name, value in uninterrupted["weights"].items():
        found = resumed["weights"][name]
        torch.testing.assert_close(found, value, rtol=0, atol=1e-6, equal_nan=True, msg=name)
    assert resumed["history"] == uninterrupted["history"]
    assert resumed["best"] == pytest.approx(uninterrupted["best"], abs=1e-6)
    assert torch.equal(resumed["drawn"], uninterrupted["drawn"])


def test_the_run_is_one_in_which_widths_changed(ends: tuple[dict, dict]) -> None:
    sizes = ends[0]["history"]["width/gru-l0/size"]
    assert sizes[0] == 32
    assert sizes[-1] < 32
    assert len(set(sizes)) > 3
