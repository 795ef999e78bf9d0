"""The voice-activity study: every system with every seed, then the table.

``make reproduce-vad DATA_ROOT=…`` on any data root (LibriSpeech or VCTK, ESC-50, and AMI where present). A run that is
in ``results.jsonl`` is not run again, and a run that was killed goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import lightning
import torch

from dyn_lightning.callbacks import ComplexityLogger, LambdaClamp, PhaseSwitch, Reorder, WidthsCheckpoint
from dyn_lightning.callbacks.consolidate import load_checkpoint, write_artifact
from dyn_lightning.data.vad import VADDataModule
from dyn_lightning.module import DynamicModule
from dyn_lightning.report import append_result, plot_history, read_results, result_record
from experiments.vad.speed import write_speed
from experiments.vad.systems import System, all_systems, full_complexity
from experiments.vad.table import write_tables

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
WARMUP_SHARE, SEARCH_SHARE = 0.125, 0.125


def train(system: System, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train, choose the checkpoint, test, and write the artifact of one system with one seed."""
    quieten()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // args.jobs))
    lightning.seed_everything(seed, verbose=False)
    folder = Path(args.runs) / f"{slug(system.name)}-{seed}"
    data = VADDataModule(
        args.data_root,
        batch_size=args.batch_size,
        items_per_epoch=args.items_per_epoch,
        train_seed=seed,
        num_workers=args.num_workers,
    )
    module = system.module(args.lr)
    epochs = args.epochs
    warmup = max(1, round(WARMUP_SHARE * epochs))
    search = max(1, round(SEARCH_SHARE * epochs)) if system.settles else None
    checkpoint, history = WidthsCheckpoint("val/eer", dirpath=str(folder)), ComplexityLogger()
    callbacks = [PhaseSwitch(warmup, search), LambdaClamp(system.lam_min), history, checkpoint]
    if system.reorders:
        callbacks.insert(1, Reorder())
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="auto",
        devices=1,
        logger=False,
        callbacks=callbacks,
        gradient_clip_val=5.0,
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    last = folder / "last.ckpt"
    resumed = last.is_file()
    start = time.perf_counter()
    trainer.fit(module, data, ckpt_path=str(last) if resumed else None)
    training_s = time.perf_counter() - start
    metrics = evaluate(trainer, module, data, checkpoint.best_model_path)
    record = result_record(
        module,
        metrics=metrics,
        config={"system": system.name, **settings(args)},
        seed=seed,
        dataset=data_name(data),
        wall_time_s=training_s,
    )
    record |= {
        "settles": system.settles,
        "control": system.control,
        "resumed": resumed,
        "threads": torch.get_num_threads(),
        "flops_per_second_full": full_size_cost(),
        "flops_per_second_published": module.complexity.flops_now("paper") - recurrent_flops(module.complexity),
    }
    if not system.learns and not system.backbone:
        # What the paper's setting, which has no time to settle in, is compared with.
        record["metrics_last"] = evaluate(trainer, module, data, str(last))
    artifact = folder / "artifact"
    if module.is_dynamic:
        inputs = [batch["audio"] for batch in islice(data.val_dataloader(), 4)]
        _, report = write_artifact(module, artifact, inputs)
        record["largest_relative_difference"] = report.largest_relative_difference
        if history.history:
            plot_history(history.history, folder / "widths.png")
    return record


def evaluate(
    trainer: lightning.Trainer, module: DynamicModule, data: VADDataModule, checkpoint: str
) -> dict[str, float]:
    """Validation and test metrics of a checkpoint."""
    load_checkpoint(module, checkpoint)
    metrics: dict[str, float] = {}
    for stage in (trainer.validate, trainer.test):
        for row in stage(module, datamodule=data, verbose=False):
            metrics |= {name: float(value) for name, value in row.items()}
    return metrics


def recurrent_flops(complexity: Any) -> float:
    """FLOPs per second of the recurrent layers in the paper's convention, which its published counts leave out."""
    key = f"{complexity.unit}_paper_after"
    return sum(float(row[key]) for row in complexity.table() if row["kind"] in ("GRU", "LSTM", "StackedRNN"))


def full_size_cost() -> tuple[float, float]:
    """FLOPs/s of CRNNVAD that no size governs, and all of them at full size."""
    complexity = full_complexity()
    return complexity.fixed_flops(), complexity.flops_full_size()


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What must be the same for runs to be compared."""
    return {name: getattr(args, name) for name in ("epochs", "items_per_epoch", "batch_size", "lr")}


def is_of(record: dict[str, Any], args: argparse.Namespace, dataset: str) -> bool:
    """Whether a finished run was trained on this data by these settings."""
    return record["dataset"] == dataset and all(
        record["config"].get(name) == value for name, value in settings(args).items()
    )


def data_name(data: VADDataModule) -> str:
    """What the run was trained and tested on: corpus names and the amount of material."""
    stores = {split: (len(m.speech), len(m.noise)) for split, m in data.mixtures.items()}
    counts = ", ".join(f"{split} {speech} utterances {noise} clips" for split, (speech, noise) in stores.items())
    return f"{Path(data.data_root).name}: {counts}; tests {' '.join(data.test_names)}"


def slug(name: str) -> str:
    """A system's name as a folder's."""
    return "".join(c if c.isalnum() or c == "." else "-" for c in name.replace("β", "beta")).strip("-")


def quieten() -> None:
    """Keep Lightning's notes of every run out of the study's output."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


def run_one(job: tuple[System, int, argparse.Namespace]) -> dict[str, Any]:
    """One run in a process of its own; its line is appended as soon as it is there."""
    system, seed, args = job
    record = train(system, seed, args)
    append_result(args.results, record)
    return record


def main() -> None:
    """Runs what is missing, prints what was found, and writes tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data_root", default=os.environ.get("DATA_ROOT", "data"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--items_per_epoch", type=int, default=3200)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--num_workers", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time")
    parser.add_argument("--only", nargs="*", help="names of systems; all when absent")
    parser.add_argument("--runs", default="runs/vad", help="checkpoints and artifacts")
    parser.add_argument("--results", default=str(RESULTS))
    args = parser.parse_args()
    quieten()
    systems = all_systems()
    if args.only:
        unknown = set(args.only) - {s.name for s in systems}
        if unknown:
            parser.error(f"no system is called {', '.join(unknown)}; there are: {', '.join(s.name for s in systems)}")
        systems = [s for s in systems if s.name in args.only]
    known = read_results(args.results) if Path(args.results).is_file() else []
    data = VADDataModule(args.data_root)
    data.setup()
    done = {(r["config"]["system"], r["seed"]) for r in known if is_of(r, args, data_name(data))}
    order = [(s, seed) for control in (False, True) for seed in args.seeds for s in systems if s.control == control]
    jobs = [(s, seed, args) for s, seed in order if (s.name, seed) not in done]
    print(f"{len(jobs)} runs to do, {len(systems) * len(args.seeds) - len(jobs)} done in {args.results}", flush=True)
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        for record in pool.map(run_one, jobs):
            print(
                f"{record['config']['system']:24s} seed {record['seed']}: EER {100 * eer_of(record):.2f} %, "
                f"{record['flops_per_second'] / 1e6:.2f} MFLOPs/s, {record['wall_time_s']:.0f} s",
                flush=True,
            )
    folder = Path(args.results).parent
    write_speed(args.results, folder)
    write_tables(args.results, folder)


def eer_of(record: dict[str, Any]) -> float:
    """EER on the mixed test set, whether or not there was a second one."""
    metrics = record["metrics"]
    return float(metrics.get("test/mixed/eer", metrics.get("test/eer")))


if __name__ == "__main__":
    main()
