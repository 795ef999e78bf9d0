"""Spoofing countermeasures: loss and metrics against closed forms, and a whole run."""

import math
from pathlib import Path

import lightning
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dyn_lightning.metrics.eer import eer
from dyn_lightning.metrics.tdcf import min_tdcf
from dyn_lightning.module import DynamicModule
from dyn_lightning.tasks import SpoofDetection
from dyn_lightning.tasks.spoof_detection import bonafide_scores

RATES = (0.04, 0.05, 0.3)


def test_cross_entropy_with_class_weights_by_hand():
    output, target = torch.tensor([[0.5, -1.0], [2.0, 0.3]]), torch.tensor([1.0, 0.0])
    by_hand = [math.log1p(math.exp(1.5)), math.log1p(math.exp(-1.7))]  # of bona fide, of spoof
    task = SpoofDetection(spoof_weight=0.1, bonafide_weight=0.9)
    assert task.loss(output, {"target": target}).item() == pytest.approx(0.9 * by_hand[0] + 0.1 * by_hand[1])
    assert SpoofDetection().loss(output, {"target": target}).item() == pytest.approx(sum(by_hand) / 2)


def test_margin_losses_by_hand():
    task = SpoofDetection("am_softmax", spoof_weight=1, bonafide_weight=3, scale=10, margin=0.5)
    cosines, target = torch.tensor([[0.2, 0.6], [0.4, -0.1]]), torch.tensor([1, 0])
    by_hand = [math.log1p(math.exp(10 * (0.2 - 0.6 + 0.5))), math.log1p(math.exp(10 * (-0.1 - 0.4 + 0.5)))]
    assert task.loss(cosines, {"target": target}).item() == pytest.approx((3 * by_hand[0] + by_hand[1]) / 4)
    task = SpoofDetection("oc_softmax", spoof_weight=1, bonafide_weight=3, scale=10, bonafide_margin=0.8)
    by_hand = [math.log1p(math.exp(10 * (0.8 - 0.6))), math.log1p(math.exp(10 * (-0.1 - 0.2)))]
    for cosine in (torch.tensor([0.6, -0.1]), torch.tensor([[0.6], [-0.1]])):
        assert task.loss(cosine, {"target": target}).item() == pytest.approx((3 * by_hand[0] + by_hand[1]) / 4)


@pytest.mark.parametrize(("kind", "shape"), [("cross_entropy", (4, 2)), ("am_softmax", (4, 2)), ("oc_softmax", (4, 1))])
def test_a_step_down_the_gradient_raises_bona_fide_scores(kind: str, shape: tuple[int, int]):
    task, output = SpoofDetection(kind), torch.zeros(shape, requires_grad=True)
    batch = {"target": torch.tensor([1, 0, 0, 1])}
    task.loss(output, batch).backward()
    scores = bonafide_scores(output - output.grad, kind)
    assert scores.shape == (4,)
    assert ((scores > 0) == (batch["target"] == 1)).all()


@pytest.mark.parametrize(("kind", "shape"), [("cross_entropy", (4,)), ("am_softmax", (4, 3)), ("oc_softmax", (4, 2))])
def test_an_output_that_does_not_fit_is_named(kind: str, shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=kind):
        SpoofDetection(kind).loss(torch.zeros(shape), {"target": torch.ones(4)})
    with pytest.raises(ValueError, match=kind):
        bonafide_scores(torch.zeros(shape), kind)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="oc_softmax, got 'softmax'"):
        SpoofDetection("softmax")
    with pytest.raises(ValueError, match="spoof_weight"):
        SpoofDetection(spoof_weight=0.0)


def scored(count: int = 90) -> tuple[Tensor, dict]:
    """Outputs (count, 2) and a batch of three systems and bona fide speech."""
    generator = torch.Generator().manual_seed(5)
    systems = [("-", "A01", "A17")[i % 3] for i in range(count)]
    target = torch.tensor([int(system == "-") for system in systems])
    output = torch.randn(count, 2, generator=generator)
    output[:, 1] += 1.5 * target + 0.8 * torch.tensor([system == "A17" for system in systems])
    meta = {"system": systems, "asv_rates": torch.tensor(RATES, dtype=torch.float64).repeat(count, 1)}
    return output, {"target": target, "meta": meta}


def part(batch: dict, rows: slice) -> dict:
    meta = {key: value[rows] for key, value in batch["meta"].items()}
    return {"target": batch["target"][rows], "meta": meta}


def test_metrics_are_those_of_all_utterances_together():
    output, batch = scored()
    scores, target, systems = output[:, 1] - output[:, 0], batch["target"], batch["meta"]["system"]
    metrics = SpoofDetection().new_metrics()
    for rows in (slice(0, 7), slice(7, 8), slice(8, 90)):
        metrics.update(output[rows], part(batch, rows))
    found = {name: float(value) for name, value in metrics.compute().items()}
    rate, threshold = eer(scores, target, convention="asvspoof2019")
    expected = {"eer": rate, "threshold": threshold, "min_tdcf": min_tdcf(scores, target, RATES)}
    for system in ("A01", "A17"):
        chosen = torch.tensor([s in ("-", system) for s in systems])
        expected[f"eer_{system}"] = eer(scores[chosen], target[chosen], convention="asvspoof2019")[0]
    assert found == pytest.approx(expected, abs=1e-6)
    assert found["eer_A17"] > found["eer"] > found["eer_A01"] > 0.05


def test_what_is_not_known_is_left_out():
    output, batch = scored()
    metrics = SpoofDetection().new_metrics()
    metrics.update(output, {"target": batch["target"]})
    assert set(metrics.compute()) == {"eer", "threshold"}


class Loudness(nn.Module):
    """Two logits of the mean power."""

    def __init__(self) -> None:
        super().__init__()
        self.sample_rate = 100
        self.hidden = nn.Linear(1, 8)
        self.last = nn.Linear(8, 2)

    def forward(self, audio: Tensor) -> Tensor:
        return self.last(F.relu(self.hidden(audio.square().mean(-1, keepdim=True))))


def collate(items: list[dict]) -> dict:
    return {
        "audio": torch.stack([item["audio"] for item in items]),
        "target": torch.tensor([item["target"] for item in items]),
        "meta": {
            "system": [item["system"] for item in items],
            "asv_rates": torch.tensor([RATES] * len(items), dtype=torch.float64),
        },
    }


def test_a_fit_learns_and_logs_and_keeps_what_inference_needs(tmp_path: Path):
    torch.manual_seed(0)
    systems = ["-", "A01", "A02"] * 16
    loudness = {"-": 1.5, "A01": 0.5, "A02": 1.0}
    items = [{"audio": loudness[s] * torch.randn(100), "target": int(s == "-"), "system": s} for s in systems]
    loader = DataLoader(items, batch_size=8, collate_fn=collate)
    module = DynamicModule(Loudness(), SpoofDetection(), dynamic=[], lr=0.05, lr_schedule="constant")
    trainer = lightning.Trainer(
        max_epochs=12,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    trainer.fit(module, loader, loader)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert logged["val/eer"] < 0.05
    assert logged["val/eer_A01"] <= logged["val/eer_A02"]
    assert logged["val/min_tdcf"] < 0.2
    assert math.isfinite(float(module.threshold))
    # What inference needs is part of a checkpoint.
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = DynamicModule(Loudness(), SpoofDetection(), dynamic=[])
    again.load_state_dict(torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"])
    assert again.task.metadata() == {"loss": "cross_entropy", "labels": ["spoof", "bonafide"], "n_samples": 100}


def test_the_length_of_items_is_that_of_validation():
    task = SpoofDetection("oc_softmax")
    task.input_of({"audio": torch.zeros(2, 50)})
    assert "n_samples" not in task.metadata()
    task.eval().input_of({"audio": torch.zeros(2, 80)})
    task.train().input_of({"audio": torch.zeros(2, 50)})
    assert task.metadata()["n_samples"] == 80


def _ddp_worker(rank: int, init_file: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{init_file}", rank=rank, world_size=2)
    output, batch = scored()
    whole = SpoofDetection().new_metrics()
    whole.eer.distributed_available_fn = whole.min_tdcf.distributed_available_fn = lambda: False
    whole.eer_by_system.distributed_available_fn = lambda: False
    whole.update(output, batch)
    own = SpoofDetection().new_metrics()
    for rows in (slice(0, 20), slice(20, 33)) if rank == 0 else (slice(33, 90),):
        own.update(output[rows], part(batch, rows))
    found, expected = own.compute(), whole.compute()
    assert {k: float(v) for k, v in found.items()} == {k: float(v) for k, v in expected.items()}
    assert "min_tdcf" in found
    torch.distributed.destroy_process_group()


def test_metrics_over_processes(tmp_path: Path):
    args = (str(tmp_path / "init"),)
    torch.multiprocessing.start_processes(_ddp_worker, args, nprocs=2, start_method="fork")
