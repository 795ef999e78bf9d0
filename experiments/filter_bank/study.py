"""One run of the synthetic study: train a filter bank of 64 outputs for 32 bands, and see how many it keeps.

arXiv 2601.13704, case study 1. How 64 outputs meet 32 targets is not published, hence two readings: ``padded`` (32
targets are zeros) and ``readout`` (a second linear layer behind). Both truly need 32.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

import lightning
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

from dyn_lightning.callbacks import LambdaClamp, PhaseSwitch
from dyn_lightning.consolidate import consolidate
from dyn_lightning.data.synthetic_spectra import FilterBankDataModule, Reading
from dyn_lightning.models.filter_bank import FilterBankNet
from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import LambdaSquared, LossTolerance
from dyn_lightning.runs import result_record
from dyn_lightning.runs.environment import revision
from dyn_lightning.tasks import Regression, pad_outputs

READINGS: tuple[Reading, ...] = get_args(Reading)
N_FREQS, N_OUTPUTS, N_BANDS = 257, 64, 32
LAM_MIN = 1 / 16
FLOPS = "complexity/flops_per_call"
DATASET = f"synthetic spectra, {N_FREQS} bins, {N_BANDS} mel bands"


@dataclass(frozen=True)
class System:
    """What is compared.

    Attributes:
        name: in tables.
        fixed_size: outputs of a plain network in which nothing is learned; None: 64, and their number is learned.
        beta: weight of the paper's penalty β·λ²; None: the loss's tolerance decides (``LossTolerance``).
        boundary: how the boundary element fades out, a name in ``functional.BOUNDARIES``.
        tolerance: of ``LossTolerance``.
    """

    name: str
    fixed_size: int | None = None
    beta: float | None = None
    boundary: str = "taper"
    tolerance: float = 0.01


OURS = System("ours")
FIXED = System("fixed 32", fixed_size=N_BANDS)


def paper(beta: float) -> System:
    """The paper's objective and boundary noise, with one β."""
    return System(f"paper, β {beta:g}", beta=beta, boundary="paper")


@dataclass(frozen=True)
class Schedule:
    """Length of a run and its learning rates, the same for all systems.

    The weights' learning rate is constant until the sizes are final and for ``settle_hold`` of the settling, then falls
    to 0 along a cosine.
    """

    warmup_epochs: int = 3
    search_epochs: int = 20
    settle_epochs: int = 5
    steps_per_epoch: int = 200
    batch_size: int = 64
    eval_batches: int = 64
    lr: float = 2e-3
    lr_lam: float = 3e-4
    settle_hold: float = 0.2

    @property
    def epochs(self) -> int:
        return self.warmup_epochs + self.search_epochs + self.settle_epochs

    @property
    def lr_hold(self) -> float:
        """Share of the run before the cosine."""
        return 1.0 - (1.0 - self.settle_hold) * self.settle_epochs / self.epochs


@dataclass(frozen=True)
class Outcome:
    """A finished run: its line in the results, and the filters that it learned.

    ``filters``: (outputs of the network, frequency bins); with a read-out, of both layers together.
    """

    record: dict[str, Any]
    filters: Tensor


class History(Callback):
    """Real-valued size K, and mean task loss since the last entry, every ``every`` steps.

    Attributes:
        rows: "step", "k", FLOPs a call and "relative_l1" (over the mean absolute target) → values.
    """

    def __init__(self, every: int = 50) -> None:
        self.every = every
        self.rows: dict[str, list[float]] = {"step": [], "k": [], FLOPS: [], "relative_l1": []}
        self._loss: Tensor | float = 0.0
        self._target: Tensor | float = 0.0

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, DynamicModule)
        self._loss = self._loss + trainer.callback_metrics["train/loss"]
        self._target = self._target + batch["target"].abs().mean()
        if trainer.global_step % self.every:
            return
        widths = list(pl_module.widths.values())
        k = float(widths[0].k.detach()) if widths else float(kept_bands(pl_module.network))
        flops = pl_module.complexity.flops_at(pl_module.complexity.sizes_now)
        loss = float(self._loss) / float(self._target)
        for key, value in {"step": trainer.global_step, "k": k, FLOPS: flops, "relative_l1": loss}.items():
            self.rows[key].append(float(f"{value:.5g}"))
        self._loss = self._target = 0.0


def configuration(reading: Reading, system: System, schedule: Schedule) -> dict[str, Any]:
    """Everything but the seed that decides a run."""
    return {"reading": reading, **asdict(system), **asdict(schedule)}


def make_module(reading: Reading, system: System, schedule: Schedule) -> DynamicModule:
    """Network, task and objective of one system, for ``reading``."""
    readout = reading == "readout"
    backbone = FilterBankNet(N_FREQS, system.fixed_size or N_OUTPUTS, N_BANDS, readout=readout)
    objective = LossTolerance(system.tolerance) if system.beta is None else LambdaSquared(system.beta)
    return DynamicModule(
        backbone,
        Regression(),
        objective,
        dynamic=["bands"] if system.fixed_size is None else [],
        boundary=system.boundary,
        free_outputs=not readout,  # there, the layer under study is the last one
        example_duration_s=None,
        example_shape=[1, N_FREQS],
        lr=schedule.lr,
        lr_lam=schedule.lr_lam,
        lr_schedule="cosine",
        lr_hold=schedule.lr_hold,
    )


def train(reading: Reading, system: System, seed: int, schedule: Schedule | None = None) -> Outcome:
    """Train one system with one seed (initialisation, noise and data), consolidate it, and test what is left."""
    schedule = schedule or Schedule()
    quieten()
    revision()  # of the code that runs: files may change until the record is made
    lightning.seed_everything(seed, verbose=False)
    data = FilterBankDataModule(
        batch_size=schedule.batch_size,
        batches_per_epoch=schedule.steps_per_epoch,
        eval_batches=schedule.eval_batches,
        n_freqs=N_FREQS,
        n_mels=N_BANDS,
        n_outputs=N_OUTPUTS,
        reading=reading,
        train_seed=seed,
    )
    module = make_module(reading, system, schedule)
    history = History()
    trainer = lightning.Trainer(
        max_epochs=schedule.epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[
            PhaseSwitch(schedule.warmup_epochs, schedule.search_epochs),
            LambdaClamp(LAM_MIN),
            history,
        ],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        log_every_n_steps=50,
    )
    start = time.perf_counter()
    trainer.fit(module, data)
    wall_time_s = time.perf_counter() - start
    held_out = list(data.test_dataloader())
    small, difference = module.network.eval(), None
    if module.is_dynamic:
        small, report = consolidate(module.learned[0], [batch["input"] for batch in held_out[:4]])
        difference = report.largest_relative_difference
    record = result_record(
        module,
        metrics={"relative_l1": relative_l1(small, held_out)},
        config=configuration(reading, system, schedule),
        seed=seed,
        dataset=DATASET,
        wall_time_s=wall_time_s,
    )
    record |= {
        "kept": kept_bands(small),
        "largest_relative_difference": difference,
        "history": history.rows,
    }
    return Outcome(record, learned_filters(small))


@torch.no_grad()
def relative_l1(network: nn.Module, batches: Iterable[Mapping[str, Any]]) -> float:
    """Sum of absolute errors over the sum of absolute targets; outputs that are missing count as zeros."""
    error = total = 0.0
    for batch in batches:
        target = batch["target"]
        error += float((pad_outputs(network(batch["input"]), target) - target).abs().sum())
        total += float(target.abs().sum())
    return error / total


@torch.no_grad()
def kept_bands(network: nn.Module) -> int:
    """How many bands a network has."""
    assert isinstance(network, FilterBankNet)
    return network.bands.out_features


@torch.no_grad()
def learned_filters(network: Any) -> Tensor:
    """What the network as a whole does to a spectrum, (outputs, frequency bins)."""
    bands: Tensor = network.bands.weight
    return (bands if network.readout is None else network.readout.weight @ bands).clone()


def quieten() -> None:
    """Keep Lightning's notes of every run out of the study's output, and this process off the GPU."""
    # Adam asks in every step whether there is a GPU, which costs a tenth of a step this small.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
