"""Settings that no run can have: every public constructor refuses them by name, before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from dyn_lightning.callbacks import BatchNormReestimation, Consolidate, LambdaClamp, Reorder, WidthsCheckpoint
from dyn_lightning.callbacks.score_at_budget import ScoreAtBudget
from dyn_lightning.data.asvspoof2019 import ASVspoof2019DataModule
from dyn_lightning.data.synthetic_spectra import FilterBankDataModule
from dyn_lightning.data.vad import VADDataModule
from dyn_lightning.errors import SettingError
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import FlopsBudget
from dyn_lightning.optim import make_optimizer, make_schedule
from dyn_lightning.tasks import Classification, Distillation, FrameDetection, Regression, SpoofDetection

NAN, INF = math.nan, math.inf
NEGATIVE, COUNTS = (-1.0, NAN, INF), (0, -1, 1.5, NAN)


def vad(**options: Any) -> Any:
    return VADDataModule("data", **options)


def spoof(**options: Any) -> Any:
    return ASVspoof2019DataModule("data", **options)


def distillation(**options: Any) -> Any:
    return Distillation(Regression(), **options)


REFUSED: list[tuple[Callable[..., Any], dict[str, tuple[float, ...]]]] = [
    (vad, dict.fromkeys(["batch_size", "items_per_epoch", "val_items", "test_items", "sample_rate"], COUNTS)),
    (vad, dict.fromkeys(["duration_s", "eval_duration_s"], (0.0, *NEGATIVE))),
    (vad, {"num_workers": (-1, 0.5), "cache_mib": NEGATIVE, "seed": (-1,), "train_seed": (-1,)}),
    (vad, {"snr_db_min": (NAN, 99.0, -INF), "gain_db_max": (NAN, INF, -99.0), "label_threshold_db": (0.0, NAN, -INF)}),
    (vad, {"speech_share_min": (0.0, NAN, 1.0), "speech_share_max": (1.5, NAN)}),
    (FilterBankDataModule, dict.fromkeys(["batch_size", "batches_per_epoch", "eval_batches", "n_mels"], COUNTS)),
    (FilterBankDataModule, dict.fromkeys(["n_freqs", "n_outputs", "sample_rate"], COUNTS)),
    (spoof, dict.fromkeys(["batch_size", "n_samples", "sample_rate"], COUNTS)),
    (spoof, {"num_workers": (-1,), "cache_mib": NEGATIVE, "speed_factors": ([NAN], [0.0])}),  # type: ignore[dict-item]
    (FrameDetection, {"positive_weight": (0.0, *NEGATIVE)}),
    (SpoofDetection, dict.fromkeys(["spoof_weight", "bonafide_weight", "scale"], (0.0, *NEGATIVE))),
    (SpoofDetection, dict.fromkeys(["margin", "bonafide_margin", "spoof_margin"], (-2.0, NAN, 3.0))),
    (Classification, {"label_smoothing": (-0.1, 1.1, NAN)}),
    (distillation, {"weight": (-0.1, 1.1, NAN), "temperature": (0.0, *NEGATIVE)}),
    (BatchNormReestimation, {"batches": COUNTS}),
    (Reorder, {"batches": COUNTS}),
    (Consolidate, {"batches": (-1, 0.5), "tolerance": (0.0, *NEGATIVE)}),
    (LambdaClamp, {"lam_min": (0.0, 2.0, NAN), "multiple_of": COUNTS}),
    (WidthsCheckpoint, {"mode": ("least",)}),  # type: ignore[dict-item]
    (ScoreAtBudget, {"share": (0.0, 1.5, NAN), "flops_per_second": (0.0, *NEGATIVE), "share_of_all": (0.0, 2.0)}),
]
CASES = [
    pytest.param(make, name, value, id=f"{getattr(make, '__name__', make)} {name}={value}")
    for make, settings in REFUSED
    for name, values in settings.items()
    for value in values
]


@pytest.mark.parametrize(("make", "name", "value"), CASES)
def test_is_refused_by_name(make: Callable[..., Any], name: str, value: float) -> None:
    with pytest.raises(SettingError, match=name):
        make(**{name: value})


@pytest.mark.parametrize("name", ["lr", "weight_decay", "lr_lam", "lr_growth", "lr_hold", "gradient_clip_lam"])
@pytest.mark.parametrize("value", [-1.0, NAN, INF])
def test_a_module_refuses_it_too(make_module: Any, name: str, value: float) -> None:
    with pytest.raises(SettingError, match=name):
        make_module(**{name: value})


@pytest.mark.parametrize(
    "settings",
    [{"example_duration_s": x} for x in (0.0, -1.0, NAN, INF)]
    + [{"example_duration_s": None, "example_shape": x} for x in ([1, 0], [1, -65], [])],
)
def test_an_example_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=list(settings)[-1]):
        DynamicModule(CRNNVAD(20, 12, 10), FrameDetection(), FlopsBudget(share=0.5), **settings)


def test_a_schedule_or_shape_that_cannot_be(make_module: Any) -> None:
    with pytest.raises(SettingError, match="lr_schedule"):
        make_module(lr_schedule="linear")


def test_as_do_the_functions(make_module: Any) -> None:
    network = make_module().network
    for name in ("lr", "weight_decay", "lr_lam"):
        with pytest.raises(SettingError, match=name):
            make_optimizer(network, lambda groups: None, **{"lr": 0.1, "weight_decay": 0.0, "lr_lam": 0.1, name: -1.0})  # type: ignore[arg-type, return-value]
    with pytest.raises(SettingError, match="lr_growth"):
        make_schedule(None, "cosine", 10, growth=NAN)  # type: ignore[arg-type]
