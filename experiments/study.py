"""What the studies share: phases of a run, runs that resume, several at a time, means over seeds."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from dyn_lightning.callbacks import ComplexityLogger, LambdaClamp, PhaseSwitch, WidthsCheckpoint
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.dynamize import dynamize
from dyn_lightning.module import DynamicModule
from dyn_lightning.module.artifact import load_checkpoint, write_artifact
from dyn_lightning.runs import append_result, config_hash, plot_history, read_results
from dyn_lightning.runs.environment import revision

WARMUP_SHARE, SEARCH_SHARE = 0.125, 0.125
LR_GROWTH = 0.8
"""Exponent by which the learning rate grows with what a network is narrower: threefold at a quarter of the width."""
Record = dict[str, Any]
Job = TypeVar("Job")


class StudySystem(Protocol):
    """What a run has to know of its system."""

    @property
    def name(self) -> str:
        """Of the system, and of its folder."""

    @property
    def settles(self) -> bool:
        """Whether the sizes are final before the end, so that validation chooses the checkpoint."""

    def callbacks(self) -> list[lightning.Callback]:
        """What else acts on the run, e.g. ranks the elements when the search begins."""

    @property
    def lam_min(self) -> float | None:
        """Least λ; one unit when absent."""


@dataclass(frozen=True)
class Fit:
    """A training that has ended.

    Attributes:
        trainer: that ran it.
        best: path of the checkpoint that was chosen.
        last: path of the last one.
        history: sizes and cost over the steps.
        resumed: whether it went on from a checkpoint; its time is then that of the rest.
        wall_time_s: of the training alone.
    """

    trainer: lightning.Trainer
    best: str
    last: str
    history: Mapping[str, Sequence[float]]
    resumed: bool
    wall_time_s: float


def runs_at_a_time() -> int:
    """How many trainings share this machine: two on a GPU, else one a core."""
    return 2 if torch.cuda.is_available() else os.cpu_count() or 1


def begin_run(seed: int, jobs: int) -> None:
    """Seeds a run and gives it its share of the cores."""
    quieten()
    revision()  # of the code that runs: files may change until the record is made
    cores = os.cpu_count() or 1
    torch.set_num_threads(max(1, min(cores // jobs, int(os.environ.get("OMP_NUM_THREADS", cores)))))
    lightning.seed_everything(seed, verbose=False)


def fit(
    system: StudySystem,
    module: DynamicModule,
    data: lightning.LightningDataModule,
    folder: Path,
    epochs: int,
    *,
    warmup_share: float = WARMUP_SHARE,
    search_share: float = SEARCH_SHARE,
    monitor: str = "val/eer",
    multiple_of: int | None = None,
) -> Fit:
    """Train through all phases; a run whose folder holds ``last.ckpt`` goes on from there.

    Args:
        system: that is trained.
        module: the system's.
        data: to train and validate on.
        folder: of checkpoints.
        epochs: of the whole run.
        warmup_share: of the epochs, that warm up.
        search_share: of the epochs, that search where the system settles; the rest settles.
        monitor: the value of validation, the least of which chooses the checkpoint.
        multiple_of: elements that every size gives up together.
    """
    warmup = max(1, round(warmup_share * epochs))
    search = max(1, round(search_share * epochs)) if system.settles else None
    checkpoint, history = WidthsCheckpoint(monitor, dirpath=str(folder)), ComplexityLogger()
    callbacks = [
        PhaseSwitch(warmup, search),
        *system.callbacks(),
        LambdaClamp(system.lam_min, multiple_of),
        history,
        checkpoint,
    ]
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
    wall_time_s = time.perf_counter() - start
    return Fit(trainer, checkpoint.best_model_path, str(last), history.history, resumed, wall_time_s)


def evaluate(
    trainer: lightning.Trainer, module: DynamicModule, data: lightning.LightningDataModule, checkpoint: str
) -> dict[str, float]:
    """Validation and test metrics of a checkpoint, which the module keeps."""
    load_checkpoint(module, checkpoint)
    metrics: dict[str, float] = {}
    for stage in (trainer.validate, trainer.test):
        for row in stage(module, datamodule=data, verbose=False):
            metrics |= {name: float(value) for name, value in row.items()}
    return metrics


def keep_artifact(
    module: DynamicModule, data: lightning.LightningDataModule, history: Mapping[str, Sequence[float]], folder: Path
) -> Record:
    """Writes the small network and the figure of its sizes; what the record has to say of it."""
    if not module.is_dynamic:
        return {}
    inputs = [module.task.input_of(batch) for batch in islice(data.val_dataloader(), 4)]
    _, report = write_artifact(module, folder / "artifact", inputs)
    if history:
        plot_history(history, folder / "widths.png")
    return {"largest_relative_difference": report.largest_relative_difference}


@torch.random.fork_rng()
def narrow_lr(lr: float, growth: float, full: Complexity, narrower: nn.Module, example: Tensor) -> float:
    """The learning rate of a network that is built narrower: by the rule that raises it where sizes are learned.

    Args:
        lr: at full size.
        growth: exponent of the geometric mean of what each size is smaller by (``lr_growth`` of DynamicModule).
        full: cost of the network at full size.
        narrower: the same network with smaller sizes.
        example: input of a network.
    """
    sizes = dynamize(narrower, example).complexity.full_sizes
    logs = [math.log(size / sizes[name]) for name, size in full.full_sizes.items()]
    return float(lr * math.exp(growth * sum(logs) / len(logs)))


def optimiser(config: Mapping[str, Any]) -> str:
    """In words; of runs whose narrower networks have a larger rate, by what power."""
    growth = config.get("lr_growth")
    return f"Adam at {config['lr']:g}" + (f" × narrowing^{growth:g}" if growth else "")


def is_of(record: Record, settings: Mapping[str, Any], dataset: str) -> bool:
    """Whether a finished run was trained on this data by these settings."""
    return record["dataset"] == dataset and all(record["config"].get(name) == value for name, value in settings.items())


def finished(results: str | os.PathLike[str], settings: Mapping[str, Any], dataset: str) -> set[tuple[str, int]]:
    """(system, seed) of all runs that need not be run again."""
    known = read_results(results) if Path(results).is_file() else []
    return {(r["config"]["system"], r["seed"]) for r in known if is_of(r, settings, dataset)}


def run_jobs(
    run: Callable[[Job], Record], jobs: Sequence[Job], results: str, summary: Callable[[Record], str], processes: int
) -> None:
    """Runs each job in one of some processes; its line is appended as soon as it is there, and a summary printed.

    Raises:
        RuntimeError: at the end, if runs have failed; the others are run all the same.
    """
    failed: list[BaseException] = []
    pool_of = partial(ProcessPoolExecutor, processes, mp_context=get_context("spawn"))
    with pool_of(initializer=_end_with, initargs=(os.getpid(),)) as pool:
        try:
            for future in as_completed([pool.submit(_Keeping(run, results), job) for job in jobs]):
                error = future.exception()
                if error is None:
                    print(summary(future.result()), flush=True)
                else:
                    failed.append(error)
                    print(f"a run has failed, the others go on: {error!r}", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if failed:
        raise RuntimeError(
            f"{len(failed)} of {len(jobs)} runs have failed, the first with {failed[0]!r}. Mend that and give the same "
            "command again: finished runs are kept"
        ) from failed[0]


def _end_with(parent: int) -> None:
    """Let this process end when its parent has: one that is killed cannot tell it to."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@dataclass(frozen=True)
class _Keeping:
    """A function of a job that also appends what it returns: of a class, so that it can be sent to a process."""

    run: Callable[[Any], Record]
    results: str

    def __call__(self, job: Any) -> Record:
        record = self.run(job)
        append_result(self.results, record)
        return record


def unknown_names(wanted: Iterable[str], known: Collection[str]) -> str | None:
    """What to say of names that no system has; None where all have one."""
    quoted = [repr(name) for name in wanted if name not in known]
    return f"no system is called {', '.join(quoted)}; there are: {', '.join(map(repr, known))}" if quoted else None


def run_folder(runs: str | os.PathLike[str], config: Mapping[str, Any], seed: int, dataset: str) -> Path:
    """Where a run keeps checkpoints and artifact.

    A folder for each system, seed, settings and data: no run goes on from one that was trained otherwise.
    """
    made_of = config_hash({"config": dict(config), "dataset": dataset})
    return Path(runs) / f"{slug(config['system'])}-{seed}-{made_of}"


def slug(name: str) -> str:
    """A system's name as a folder's."""
    return "".join(c if c.isalnum() or c == "." else "-" for c in name.replace("β", "beta")).strip("-")


def quieten() -> None:
    """Keep Lightning's notes of every run out of the study's output."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


def mean_spread(values: Iterable[float | None], digits: int = 2) -> str:
    """Mean ± standard deviation over seeds; a dash where nothing was measured."""
    known = [v for v in values if v is not None]
    if not known:
        return "–"
    spread = f" ± {np.std(known, ddof=1):.{digits}f}" if len(known) > 1 else ""
    return f"{np.mean(known):.{digits}f}{spread}"


def markdown(table: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as a table in Markdown."""
    head = list(table[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(row[key]) for key in head) + " |" for row in table]
    return "\n".join(lines) + "\n"
