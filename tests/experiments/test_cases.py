"""What studies may be run on: costs by hand, and networks of which the right sizes are learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import LambdaSquared
from experiments.cases import CASES, AntiSpoofing, Digits, FilterBank, VoiceActivity, full_flops, least_share
from tests.data.asvspoof_tree import make_2019


def digits_flops(a: int, b: int) -> float:
    """Of the network on digits with a and b channels."""
    convolutions = 64 * a * (2 * 9 + 1) + 16 * b * (2 * 9 * a + 1)
    relu_and_pooling = (64 + 16 * 3) * a + (16 + 4 * 3) * b
    return convolutions + relu_and_pooling + 10 * (2 * 4 * b + 1)


def test_costs_at_full_size_and_at_the_least() -> None:
    full = digits_flops(32, 64)
    assert full_flops(Digits()) == pytest.approx(full)
    assert least_share(Digits(), ("conv1",)) == pytest.approx(digits_flops(1, 64) / full)
    assert least_share(Digits(), ("conv2",)) == pytest.approx(digits_flops(32, 1) / full)
    assert least_share(Digits(), None) == pytest.approx(digits_flops(1, 1) / full)
    # Both layers of the filter bank cost in proportion to its 64 outputs.
    assert least_share(FilterBank(), None) == pytest.approx(1 / 64, rel=0.1)
    assert full_flops(VoiceActivity()) == 85_320_202.0


def test_settings_are_the_fields_and_the_task() -> None:
    settings = replace(FilterBank(), epochs=3).settings()
    assert settings["task"] == "filter_bank"
    assert settings["epochs"] == 3
    assert CASES["filter_bank"](**{k: v for k, v in settings.items() if k != "task"}) == replace(FilterBank(), epochs=3)
    assert {name: kind.name for name, kind in CASES.items()} == {name: name for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_a_network_is_plain_or_learns_what_it_is_asked_to(name: str) -> None:
    case = CASES[name]()
    assert not case.module(None, (), "taper").is_dynamic
    chosen = {
        "filter_bank": "bands",
        "digits": "conv2",
        "vad": "conv",
        "vad_transformer": "blocks.0.feed_forward.pointwise1",
        "antispoofing": "resnet.embedding",
    }[name]
    module = case.module(LambdaSquared(1.0), (chosen,), "paper")
    assert isinstance(module, DynamicModule)
    assert list(module.widths) == [chosen.replace(".", "-")]
    assert (module.lr, module.lr_lam, module.lr_hold) == (case.lr, case.lr_lam, case.lr_hold)
    assert module.hparams["boundary"] == "paper"
    output = module.network(case.example())
    assert torch.isfinite(output).all()


@pytest.mark.parametrize("case", [FilterBank(), Digits()], ids=lambda case: case.name)
def test_seeds_decide_the_training_batches_alone(case: FilterBank | Digits) -> None:
    one, other = (case.data("", seed, 0) for seed in (0, 1))
    torch.manual_seed(0)
    first, second = (next(iter(data.train_dataloader())) for data in (one, other))
    assert first["input"].shape[0] == case.batch_size
    assert not torch.equal(first["input"], second["input"])
    one_test, other_test = (next(iter(data.test_dataloader())) for data in (one, other))
    assert torch.equal(one_test["input"], other_test["input"])
    loss = case.task().loss(case.backbone()(first["input"]), first)
    assert loss.dim() == 0
    assert loss > 0


def test_names_of_data(tmp_path: Path) -> None:
    root = make_2019(tmp_path / "Made" / "LA", n_samples=2100)
    assert "Made, which is not ASVspoof2019 LA: train 3 + 4" in AntiSpoofing().dataset(str(root))
    assert "900" in Digits().dataset("")
    assert "257 bins" in FilterBank().dataset("")
