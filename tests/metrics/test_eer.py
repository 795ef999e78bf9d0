import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_curve

from dyn_lightning.metrics.eer import EER, EERBySNR, eer, eer_by_group

DATA_ROOT = Path(os.environ.get("DATA_ROOT", "../shared/data"))
if not DATA_ROOT.is_absolute():
    DATA_ROOT = Path(__file__).parents[2] / DATA_ROOT
CHALLENGE_SCORES = DATA_ROOT.parent / "vectors" / "tdcf.json"


def roc_reference(scores: np.ndarray, targets: np.ndarray) -> float:
    """Crossing of scikit-learn's ROC with the line misses = false alarms, segment by segment."""
    false_alarms, hits, _ = roc_curve(targets, scores, drop_intermediate=False)
    excess = 1 - hits - false_alarms
    after = int(np.argmax(excess <= 0))
    share = excess[after - 1] / (excess[after - 1] - excess[after])
    return 1 - (hits[after - 1] + share * (hits[after] - hits[after - 1]))


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 20, 500]), st.sampled_from([0, 2, 10]))
def test_equals_the_crossing_of_the_roc_also_with_ties(seed: int, count: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    targets = np.r_[0, 1, rng.integers(0, 2, count)]
    scores = rng.normal(size=count + 2) + targets
    if levels:
        scores = np.round(scores * levels) / levels
    rate, threshold = eer(torch.from_numpy(scores), torch.from_numpy(targets))
    assert rate == pytest.approx(roc_reference(scores, targets), abs=1e-12)

    # the threshold is the operating point that balances both errors best
    def imbalance(t: float) -> float:
        return abs((scores[targets == 1] < t).mean() - (scores[targets == 0] >= t).mean())

    assert imbalance(threshold) == pytest.approx(min(imbalance(t) for t in scores), abs=1e-12)


def test_two_gaussians_closed_form() -> None:
    separation = 1.7
    quantiles = torch.linspace(0, 1, 200_001, dtype=torch.float64)[1:-1]
    grid = torch.special.ndtri(quantiles)
    scores = torch.cat([grid, grid + separation])
    targets = torch.cat([torch.zeros_like(grid), torch.ones_like(grid)])
    rate, threshold = eer(scores, targets)
    assert rate == pytest.approx(norm.cdf(-separation / 2), abs=1e-5)
    assert threshold == pytest.approx(separation / 2, abs=1e-4)


@pytest.mark.parametrize(
    ("scores", "targets", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1], 0.0),
        ([1.0, 2.0, 3.0, 4.0], [1, 1, 0, 0], 1.0),
        ([5.0, 5.0, 5.0, 5.0, 5.0], [1, 0, 0, 1, 0], 0.5),
    ],
)
def test_separated_inverted_and_constant_scores(scores: list[float], targets: list[int], expected: float) -> None:
    rate, threshold = eer(torch.tensor(scores), torch.tensor(targets))
    assert rate == expected
    assert threshold in scores


@pytest.mark.skipif(not CHALLENGE_SCORES.exists(), reason=f"{CHALLENGE_SCORES} is absent (set DATA_ROOT)")
@pytest.mark.parametrize("index", range(4))
def test_asvspoof2019_equals_the_challenges_scoring(index: int) -> None:
    case = json.loads(CHALLENGE_SCORES.read_text())[index]
    scores = {name: torch.tensor(values, dtype=torch.float64) for name, values in case["scores"].items()}

    def rate_of(positive: str, negative: str) -> tuple[float, float]:
        both = torch.cat([scores[negative], scores[positive]])
        targets = torch.cat([torch.zeros_like(scores[negative]), torch.ones_like(scores[positive])])
        return eer(both, targets, convention="asvspoof2019")

    expected = case["expected"]
    assert rate_of("bonafide", "spoof")[0] == pytest.approx(expected["eer"], abs=1e-9)
    asv_rate, asv_threshold = rate_of("asv_target", "asv_nontarget")
    assert asv_rate == pytest.approx(expected["asv_eer"], abs=1e-9)
    assert asv_threshold == pytest.approx(expected["asv_threshold"], abs=1e-9)


@pytest.mark.parametrize("convention", ["roc", "asvspoof2019"])
def test_only_ranks_matter(convention: str) -> None:
    generator = torch.Generator().manual_seed(1)
    targets = torch.randint(0, 2, (400,), generator=generator)
    scores = torch.randn(400, generator=generator, dtype=torch.float64) + targets
    order = torch.randperm(400, generator=generator)
    rate, threshold = eer(scores, targets, convention=convention)
    assert 0.1 < rate < 0.5
    for f in (torch.sigmoid, lambda x: x + 30, lambda x: x**3, lambda x: 1e-4 * x):
        mapped = eer(f(scores[order]), targets[order], convention=convention)
        assert mapped == (rate, pytest.approx(float(f(torch.tensor(threshold, dtype=torch.float64)))))


def test_ignored_targets_leave_no_trace() -> None:
    scores = torch.tensor([[0.2, 9.0, 0.7], [math.nan, 0.4, 0.1]])
    targets = torch.tensor([[0, -1, 1], [-100, 1, 0]])
    assert eer(scores, targets) == eer(torch.tensor([0.2, 0.7, 0.4, 0.1]), torch.tensor([0, 1, 1, 0]))


def test_one_class_has_no_eer() -> None:
    assert all(math.isnan(x) for x in eer(torch.randn(5), torch.ones(5)))
    assert all(math.isnan(x) for x in eer(torch.randn(5), torch.full((5,), -1)))


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="shape"):
        eer(torch.randn(3), torch.ones(4))
    with pytest.raises(ValueError, match="NaN"):
        eer(torch.tensor([1.0, math.nan]), torch.tensor([1, 0]))
    with pytest.raises(ValueError, match="targets must be"):
        eer(torch.randn(3), torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="convention must be"):
        eer(torch.randn(3), torch.tensor([0, 1, 1]), convention="other")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="values to group by"):
        eer_by_group(torch.randn(2), torch.tensor([0, 1]), torch.tensor([math.nan, 1.0]))


def test_groups_hold_their_lower_edge_and_rate_themselves() -> None:
    snr_db = torch.tensor([-3.0, 4.9, 5.0, 14.0, 15.0, 24.9, 25.0, math.inf])
    scores = torch.tensor([1.0, 2.0]) + 0.1 * torch.arange(8.0)[:, None]
    perfect, inverted = torch.tensor([0, 1]), torch.tensor([1, 0])
    targets = torch.stack([perfect, inverted, perfect, perfect, inverted, inverted, perfect, perfect])
    rates = eer_by_group(scores, targets, snr_db)
    expected = {
        label: eer(scores[rows], targets[rows])[0]
        for label, rows in {"<5": [0, 1], "5-15": [2, 3], "15-25": [4, 5], ">=25": [6, 7]}.items()
    }
    assert rates == expected
    assert list(rates.values()) == [0.5, 0.0, 1.0, 0.0]
    assert list(rates) == ["<5", "5-15", "15-25", ">=25"]
    assert math.isnan(eer_by_group(scores[:2], targets[:2], snr_db[:2])[">=25"])


def test_metric_does_not_depend_on_batching() -> None:
    generator = torch.Generator().manual_seed(2)
    targets = torch.randint(-1, 2, (64, 10), generator=generator)
    scores = torch.randn(64, 10, generator=generator) + targets + 30  # far from probabilities
    snr_db = torch.rand(64, generator=generator) * 40 - 5
    expected, threshold = eer(scores, targets)
    expected_groups = eer_by_group(scores, targets, snr_db)
    for size in (1, 7, 64):
        metric, by_snr = EER(), EERBySNR()
        for rows in torch.arange(64).split(size):
            metric.update(scores[rows], targets[rows])
            by_snr.update(scores[rows], targets[rows], snr_db[rows])
        assert float(metric.compute()) == pytest.approx(expected, abs=1e-6)
        assert metric.threshold == threshold
        assert {k: float(v) for k, v in by_snr.compute().items()} == pytest.approx(expected_groups, abs=1e-6)


def test_metric_passes_its_convention_on() -> None:
    scores, targets = torch.zeros(4), torch.tensor([1, 0, 0, 1])
    metric = EER(convention="asvspoof2019")
    metric.update(scores, targets)
    assert float(metric.compute()) == eer(scores, targets, convention="asvspoof2019")[0] == 1.0


def _ddp_worker(rank: int, init_file: str, scores: torch.Tensor, targets: torch.Tensor) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{init_file}", rank=rank, world_size=2)
    metric, by_snr = EER(), EERBySNR()
    own = slice(0, 30) if rank == 0 else slice(30, 100)  # processes see different amounts
    metric.update(scores[own], targets[own])
    by_snr.update(scores[own], targets[own], torch.full((len(scores[own]),), 10.0))
    expected = eer(scores, targets)[0]
    assert abs(float(metric.compute()) - expected) < 1e-6
    assert abs(float(by_snr.compute()["5-15"]) - expected) < 1e-6
    torch.distributed.destroy_process_group()


def test_metric_over_processes(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    targets = torch.randint(0, 2, (100,), generator=generator)
    scores = torch.randn(100, generator=generator) + targets
    args = (str(tmp_path / "init"), scores, targets)
    torch.multiprocessing.start_processes(_ddp_worker, args, nprocs=2, start_method="fork")
