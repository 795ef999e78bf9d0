"""Two processes on the CPU, from the command line and from Python, to the artifact."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from dyn_lightning.artifact import load_artifact
from dyn_lightning.callbacks import Consolidate, LambdaClamp, PhaseSwitch, Reorder, WidthsCheckpoint

ROOT = Path(__file__).parents[2]


def test_the_command_line_with_two_processes_ends_with_the_artifact(tmp_path):
    configs = [f"configs/{name}.yaml" for name in ("task/filter_bank", "dynamic/budget", "trainer/cpu")]
    options = {
        "trainer.max_epochs": 3, "phases.warmup_epochs": 1, "phases.search_epochs": 1, "trainer.devices": 2,
        "trainer.limit_train_batches": 2, "trainer.limit_val_batches": 1, "trainer.strategy": "ddp",
        "trainer.profiler": "pytorch", "trainer.logger.save_dir": str(tmp_path),
        "trainer.enable_progress_bar": "false",
    }  # fmt: skip
    command = [sys.executable, "-m", "dyn_lightning.cli", "fit", *(x for c in configs for x in ("-c", c))]
    done = subprocess.run(
        [*command, *(x for name, value in options.items() for x in (f"--{name}", str(value)))],
        cwd=ROOT, capture_output=True, text=True, timeout=600, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (artifact,) = tmp_path.glob("**/artifact")
    network, _ = load_artifact(artifact)
    assert all(torch.isfinite(p).all() for p in network.parameters())


def test_processes_of_python_end_with_the_artifact(make_module, make_trainer, data, tmp_path):
    callbacks = PhaseSwitch(1, 1), Reorder(1), LambdaClamp(), WidthsCheckpoint(), Consolidate(str(tmp_path / "a"))
    make_trainer(*callbacks, max_epochs=3, strategy="ddp_fork", devices=2).fit(make_module(), data)
    network, _ = load_artifact(tmp_path / "a")
    assert network.bands.out_features < 16
