"""What a study may be run on: a network with its data and its training, whatever is learned of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, ClassVar

import lightning
import torch
from torch import Tensor, nn

from dyn_lightning.costs.allocation import least_size
from dyn_lightning.data.asvspoof2019 import ASVspoof2019DataModule
from dyn_lightning.data.synthetic_spectra import FilterBankDataModule
from dyn_lightning.data.vad import VADDataModule
from dyn_lightning.dynamize import dynamize
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.models.filter_bank import FilterBankNet
from dyn_lightning.models.tr_vad import TrVAD
from dyn_lightning.module import DynamicModule
from dyn_lightning.network.plain import example_input, plain_complexity
from dyn_lightning.objectives import Objective
from dyn_lightning.tasks import Classification, FrameDetection, Regression, SpoofDetection, Task
from experiments.antispoofing.data import data_name
from experiments.antispoofing.systems import PRESETS, SAMPLE_RATE
from experiments.digits.data import DigitsDataModule
from experiments.digits.run import DATASET as DIGITS
from experiments.digits.systems import IMAGE_SHAPE, ConvNet
from experiments.filter_bank.study import N_BANDS, N_FREQS, N_OUTPUTS
from experiments.training import LR_GROWTH
from experiments.vad.run import data_name as vad_data_name


@dataclass(frozen=True)
class Case(ABC):
    """A network, its data and its training; the fields are what must be the same for runs to be compared.

    Attributes:
        name: on the command line and in records.
        metric: of the validation (``val/<metric>``), whose least value chooses the checkpoint.
        tests: names of the error on test, of which a record has one.
        error: the error in words, with its unit.
        scale: of the error as it is shown.
        logarithmic: whether errors are so far apart that their logarithms are compared.
        duration_s: seconds of audio that FLOPs are counted on; None for FLOPs per call.
        shape: of the example input, where there is no audio.
        epochs: of a whole run.
        batch_size: examples in a batch.
        lr: of the weights.
        lr_lam: of log λ.
        lr_hold: share of the run before the weights' learning rate falls to 0 along a cosine.
        lr_growth: exponent by which the learning rate of the weights grows as a budget narrows the network.
        search_share: of the epochs, that search where the sizes are final before the end.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    tests: ClassVar[tuple[str, ...]]
    error: ClassVar[str]
    scale: ClassVar[float] = 100.0
    logarithmic: ClassVar[bool] = False
    duration_s: ClassVar[float | None] = None
    shape: ClassVar[Sequence[int] | None] = None

    epochs: int
    batch_size: int
    lr: float
    lr_lam: float
    lr_hold: float
    lr_growth: float
    search_share: float

    @abstractmethod
    def backbone(self) -> nn.Module:
        """The network at full size."""

    @abstractmethod
    def task(self) -> Task:
        """Loss and metrics."""

    @abstractmethod
    def data(self, data_root: str, seed: int, num_workers: int) -> lightning.LightningDataModule:
        """To train, validate and test on; the seed decides the training batches."""

    @abstractmethod
    def dataset(self, data_root: str) -> str:
        """What runs are trained and tested on, in words."""

    def settings(self) -> dict[str, Any]:
        """As records hold them."""
        return {"task": self.name, **asdict(self)}

    def example(self) -> Tensor:
        """The input that FLOPs are counted on."""
        return example_input(self.backbone(), self.duration_s, self.shape)

    def module(
        self, objective: Objective | None, dynamic: Sequence[str] | None, boundary: str, lr_growth: float = 0.0
    ) -> DynamicModule:
        """The network ready to be trained.

        Args:
            objective: what pulls the sizes down; None where nothing is learned.
            dynamic: patterns of the layers whose sizes are learned; None for all.
            boundary: how a boundary unit fades out.
            lr_growth: exponent by which the learning rate of the weights grows as the network narrows.
        """
        return DynamicModule(
            self.backbone(),
            self.task(),
            objective,
            dynamic=None if dynamic is None else list(dynamic),
            boundary=boundary,
            example_duration_s=self.duration_s,
            example_shape=None if self.shape is None else list(self.shape),
            lr=self.lr,
            lr_lam=self.lr_lam,
            lr_hold=self.lr_hold,
            lr_growth=lr_growth,
        )


@dataclass(frozen=True)
class FilterBank(Case):
    """The synthetic study: 64 learned filters and a read-out of 32 bands."""

    name = "filter_bank"
    metric = "l1"
    tests = ("test/l1",)
    error = "L1 on test, % of the mean target"  # which is 1
    logarithmic = True
    shape = (1, N_FREQS)

    epochs: int = 8
    batch_size: int = 64
    lr: float = 2e-3
    lr_lam: float = 1e-2
    lr_hold: float = 0.5
    lr_growth: float = LR_GROWTH
    search_share: float = 0.25
    steps_per_epoch: int = 150

    def backbone(self) -> nn.Module:
        return FilterBankNet(N_FREQS, N_OUTPUTS, N_BANDS, readout=True)

    def task(self) -> Task:
        return Regression()

    def data(self, data_root: str, seed: int, num_workers: int) -> lightning.LightningDataModule:
        return FilterBankDataModule(
            self.batch_size, self.steps_per_epoch, n_freqs=N_FREQS, n_mels=N_BANDS, reading="readout", train_seed=seed
        )

    def dataset(self, data_root: str) -> str:
        return f"synthetic spectra, {N_FREQS} bins, {N_BANDS} mel bands"


@dataclass(frozen=True)
class Digits(Case):
    """Two convolutions on scikit-learn's handwritten digits."""

    name = "digits"
    metric = "error_rate"
    tests = ("test/error_rate",)
    error = "error rate on test, %"
    shape = IMAGE_SHAPE

    epochs: int = 20
    batch_size: int = 30
    lr: float = 2e-3
    lr_lam: float = 0.03
    lr_hold: float = 0.5
    lr_growth: float = LR_GROWTH
    search_share: float = 0.25

    def backbone(self) -> nn.Module:
        return ConvNet()

    def task(self) -> Task:
        return Classification("input")

    def data(self, data_root: str, seed: int, num_workers: int) -> lightning.LightningDataModule:
        return DigitsDataModule(self.batch_size)

    def dataset(self, data_root: str) -> str:
        return DIGITS


@dataclass(frozen=True)
class VoiceActivity(Case):
    """CRNNVAD on speech in noise."""

    name = "vad"
    metric = "eer"
    tests = ("test/mixed/eer", "test/eer")
    error = "EER on the mixed test set, %"
    duration_s = 1.0

    epochs: int = 8
    batch_size: int = 32
    lr: float = 3e-3
    lr_lam: float = 0.03
    lr_hold: float = 0.5
    lr_growth: float = LR_GROWTH
    search_share: float = 0.125
    items_per_epoch: int = 3200

    def backbone(self) -> nn.Module:
        return CRNNVAD()

    def task(self) -> Task:
        return FrameDetection()

    def data(self, data_root: str, seed: int, num_workers: int) -> VADDataModule:
        return VADDataModule(
            data_root,
            batch_size=self.batch_size,
            items_per_epoch=self.items_per_epoch,
            train_seed=seed,
            num_workers=num_workers,
        )

    def dataset(self, data_root: str) -> str:
        data = self.data(data_root, 0, 0)
        data.setup()
        return vad_data_name(data)


@dataclass(frozen=True)
class VoiceActivityTransformer(VoiceActivity):
    """TrVAD on speech in noise."""

    name = "vad_transformer"

    def backbone(self) -> nn.Module:
        return TrVAD()


@dataclass(frozen=True)
class AntiSpoofing(Case):
    """SpoofResNet on ASVspoof2019 LA, or a corpus of its layout, in a preset's size."""

    name = "antispoofing"
    metric = "eer"
    tests = ("test/eer",)
    error = "EER on eval, %"
    duration_s = 1.0

    epochs: int = 32
    batch_size: int = 32
    lr: float = 1e-3
    lr_lam: float = 0.03
    lr_hold: float = 0.5
    lr_growth: float = LR_GROWTH
    search_share: float = 0.25
    preset: str = "mini"

    def backbone(self) -> nn.Module:
        return PRESETS[self.preset].backbone()

    def task(self) -> Task:
        preset = PRESETS[self.preset]
        return SpoofDetection(spoof_weight=preset.spoof_weight, bonafide_weight=preset.bonafide_weight)

    def data(self, data_root: str, seed: int, num_workers: int) -> lightning.LightningDataModule:
        return ASVspoof2019DataModule(
            data_root, batch_size=self.batch_size, n_samples=SAMPLE_RATE, train_seed=seed, num_workers=num_workers
        )

    def dataset(self, data_root: str) -> str:
        return data_name(data_root)


_KINDS: tuple[type[Case], ...] = (FilterBank, Digits, VoiceActivity, VoiceActivityTransformer, AntiSpoofing)
CASES = {kind.name: kind for kind in _KINDS}


@cache
@torch.random.fork_rng()  # a run's numbers do not depend on what ran before it
def full_flops(case: Case) -> float:
    """All FLOPs of a case's network at full size: per second of audio, or per call."""
    return plain_complexity(case.backbone(), case.example(), case.duration_s).flops_full_size()


@cache
@torch.random.fork_rng()  # a run's numbers do not depend on what ran before it
def least_share(case: Case, dynamic: tuple[str, ...] | None) -> float:
    """The least share of all FLOPs that is left when some layers' sizes are one unit each.

    Args:
        case: the network.
        dynamic: patterns of the layers; None for all.
    """
    network = dynamize(case.backbone(), case.example(), duration_s=case.duration_s, dynamic=dynamic)
    sizes = {name: least_size(width) for name, width in network.widths.items()}
    return float(network.complexity.flops_at(sizes)) / full_flops(case)
