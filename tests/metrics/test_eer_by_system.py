"""Equal error rates by attack, over batches and processes."""

import math
from pathlib import Path

import pytest
import torch

from dyn_lightning.metrics.eer import eer
from dyn_lightning.metrics.eer_by_system import EERBySystem, decode_strings, eer_by_system, encode_strings


def drawn(count: int = 120) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    generator = torch.Generator().manual_seed(4)
    systems = [("-", "A07", "A19", "-", "vocoder ü")[i % 5] for i in range(count)]
    targets = torch.tensor([int(s == "-") for s in systems])
    shift = torch.tensor([{"-": 1.5, "A07": 0.0, "A19": 1.0, "vocoder ü": -1.0}[s] for s in systems])
    return (torch.randn(count, generator=generator) + shift), targets, systems


@pytest.mark.parametrize("convention", ["roc", "asvspoof2019"])
def test_each_attack_meets_all_bona_fide(convention: str) -> None:
    scores, targets, systems = drawn()
    bonafide = scores[targets == 1]
    expected = {}
    for system in ("A07", "A19", "vocoder ü"):
        spoofs = scores[torch.tensor([s == system for s in systems])]
        labels = torch.cat([torch.zeros(len(spoofs)), torch.ones(len(bonafide))])
        expected[system] = eer(torch.cat([spoofs, bonafide]), labels, convention=convention)[0]
    found = eer_by_system(scores, targets, systems, convention=convention)
    assert found == expected
    assert list(found) == ["A07", "A19", "vocoder ü"]
    assert found["A19"] > found["A07"] > found["vocoder ü"]


def test_bona_fide_counts_whatever_its_system_and_unknown_attacks_do_not() -> None:
    scores, targets = torch.tensor([1.0, 2.0, 0.0, 3.0]), torch.tensor([1, 1, 0, 0])
    assert eer_by_system(scores, targets, ["-", "A01", "A01", "-"]) == {"A01": 0.0}
    assert math.isnan(eer_by_system(scores, 0 * targets, ["A01"] * 4)["A01"])
    with pytest.raises(ValueError, match="one system each, there are 3"):
        eer_by_system(scores, targets, ["-"] * 3)


def test_strings_survive_their_codes() -> None:
    strings = ["A01", "", "-", "ü" * 16]
    codes = encode_strings(strings)
    assert codes.shape == (4, 32)
    assert codes.dtype == torch.uint8
    assert decode_strings(codes) == strings
    assert encode_strings([]).shape == (0, 32)
    with pytest.raises(ValueError, match="33 bytes"):
        encode_strings(["x" * 33])


@pytest.mark.parametrize("size", [1, 17, 120])
def test_metric_does_not_depend_on_batching(size: int) -> None:
    scores, targets, systems = drawn()
    targets[5] = -1
    metric = EERBySystem()
    for rows in torch.arange(120).split(size):
        metric.update(scores[rows], targets[rows], [systems[i] for i in rows])
    kept = targets >= 0
    expected = eer_by_system(scores[kept], targets[kept], [s for s, k in zip(systems, kept, strict=True) if k])
    assert {k: float(v) for k, v in metric.compute().items()} == pytest.approx(expected, abs=1e-6)


def _ddp_worker(rank: int, init_file: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{init_file}", rank=rank, world_size=2)
    scores, targets, systems = drawn()
    # processes see different amounts, and one of them only one attack
    own = [i for i, s in enumerate(systems) if (s in ("-", "A07")) == (rank == 0)]
    metric = EERBySystem()
    metric.update(scores[own], targets[own], [systems[i] for i in own])
    found = metric.compute()
    expected = eer_by_system(scores, targets, systems)
    assert set(found) == set(expected)
    assert all(abs(float(found[k]) - v) < 1e-6 for k, v in expected.items())
    torch.distributed.destroy_process_group()


def test_metric_over_processes(tmp_path: Path) -> None:
    args = (str(tmp_path / "init"),)
    torch.multiprocessing.start_processes(_ddp_worker, args, nprocs=2, start_method="fork")
