"""Fits that are killed, and go on: at one of their own operations on files, or at any time. A process of its own.

``python -m tests.faults.killed_runs FOLDER OPERATIONS TIMES``: a JSON line for each kill. Every fit is a child that is
forked before anything is computed, so that torch and Lightning are imported once.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from dyn_lightning.artifact import load_artifact
from dyn_lightning.callbacks import Consolidate, LambdaClamp, PhaseSwitch, WidthsCheckpoint
from dyn_lightning.data.synthetic_spectra import FilterBankDataModule
from dyn_lightning.models.filter_bank import FilterBankNet
from dyn_lightning.module import DynamicModule
from dyn_lightning.module.checkpoint_io import read_checkpoint
from dyn_lightning.objectives import LambdaSquared
from dyn_lightning.runs import append_result, read_results
from dyn_lightning.tasks import Regression

OPERATIONS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate")


def fit(folder: Path) -> None:
    """Train, or go on where there is a checkpoint; everything that a run leaves lies in the folder."""
    warnings.simplefilter("ignore")
    lightning.seed_everything(0, verbose=False)
    backbone = FilterBankNet(65, n_bands=16, n_targets=8)
    module = DynamicModule(
        backbone, Regression(), LambdaSquared(beta=1.0), lr_lam=0.1, example_duration_s=None, example_shape=[1, 65]
    )
    data = FilterBankDataModule(batch_size=8, batches_per_epoch=3, eval_batches=1, n_freqs=65, n_mels=8)
    stock = ModelCheckpoint(folder / "stock", monitor="val/loss", save_top_k=1)
    own = WidthsCheckpoint(dirpath=str(folder / "own"))
    callbacks = [PhaseSwitch(1, 1), LambdaClamp(), own, stock, Consolidate(str(folder / "artifact"), overwrite=True)]
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    last = folder / "own" / "last.ckpt"
    trainer.fit(module, data, ckpt_path=last if last.is_file() else None, weights_only=True)
    append_result(
        folder / "results.jsonl",
        {"loss": float(trainer.callback_metrics.get("val/loss", math.nan)), "text": "x" * 5000},
    )


def in_child(folder: Path, *, operation: int | None = None, after_s: float | None = None) -> int:
    """The exit status of a fit in a child, which is killed at an operation on its files or after a time."""
    child = os.fork()
    if child == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        if operation is not None:
            kill_at(operation, folder)
        status = 1
        try:
            fit(folder)
            status = 0
        finally:
            os._exit(status)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at(operation: int, folder: Path) -> None:
    """Have this process killed before its n-th operation on a file in a folder."""
    left = [operation]

    def hook(event: str, args: Any) -> None:
        if event in OPERATIONS and str(args[0]).startswith(str(folder)):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def state(folder: Path) -> Any:
    """What has to be the same, bit for bit: weights, sizes and optimiser of the last checkpoint."""
    content = read_checkpoint(folder / "own" / "last.ckpt")
    return {key: content[key] for key in ("state_dict", "optimizer_states", "global_step")}


def torn(folder: Path) -> list[str]:
    """Files under their own names that are not whole."""
    found = []
    for path in sorted(folder.rglob("*.ckpt")):
        try:
            read_checkpoint(path)
        except ValueError as error:
            found.append(str(error))
    if (folder / "artifact").exists():
        try:
            load_artifact(folder / "artifact")
        except ValueError as error:
            found.append(str(error))
    if (folder / "results.jsonl").exists() and not (folder / "results.jsonl").read_text().endswith("}\n"):
        found.append("results.jsonl")
    return found


def same(a: Any, b: Any) -> bool:
    """Whether nested values are equal, bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.numpy().tobytes() == b.numpy().tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def main(folder: Path, operations: int, times: int) -> None:
    """Kills of both kinds; how each came out."""
    rng = random.Random(0)
    whole = folder / "whole"
    begun = time.monotonic()
    assert in_child(whole) == 0, "the fit that is not killed has to end"
    duration_s = time.monotonic() - begun
    expected = state(whole)
    kills: list[dict[str, Any]] = [{"operation": rng.randrange(40)} for _ in range(operations)]
    kills += [{"after_s": rng.uniform(0.1, 1.0) * duration_s} for _ in range(times)]
    for number, how in enumerate(kills):
        run = folder / f"run_{number}"
        status = in_child(run, **how)
        left = torn(run)
        again = in_child(run)
        records = len(read_results(run / "results.jsonl")) if again == 0 else 0
        equal = again == 0 and same(state(run), expected)
        found = {"killed": status == -signal.SIGKILL, "torn": left + torn(run), "resumed": again, "equal": equal}
        print(json.dumps({**how, **found, "records": records}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
