"""The tandem cost against the challenge's own figures, its definition, and what must not matter."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dyn_lightning.metrics.tdcf import MinTDCF, asv_error_rates, min_tdcf

DATA_ROOT = Path(os.environ.get("DATA_ROOT", "../shared/data"))
if not DATA_ROOT.is_absolute():
    DATA_ROOT = Path(__file__).parents[2] / DATA_ROOT
CHALLENGE_SCORES = DATA_ROOT.parent / "vectors" / "tdcf.json"
RATES = (0.03, 0.05, 0.4)


@pytest.mark.skipif(not CHALLENGE_SCORES.exists(), reason=f"{CHALLENGE_SCORES} is absent (set DATA_ROOT)")
@pytest.mark.parametrize("index", range(4))
def test_equals_the_challenges_scoring(index: int) -> None:
    case = json.loads(CHALLENGE_SCORES.read_text())[index]
    scores = {name: torch.tensor(values, dtype=torch.float64) for name, values in case["scores"].items()}
    rates = asv_error_rates(scores["asv_target"], scores["asv_nontarget"], scores["asv_spoof"])
    expected = case["expected"]
    wanted = (expected["p_fa_asv"], expected["p_miss_asv"], expected["p_miss_spoof_asv"])
    assert rates == pytest.approx(wanted, abs=1e-9)
    both = torch.cat([scores["bonafide"], scores["spoof"]])
    targets = torch.cat([torch.ones_like(scores["bonafide"]), torch.zeros_like(scores["spoof"])])
    assert min_tdcf(both, targets, rates) == pytest.approx(expected["min_tdcf"], abs=1e-9)
    metric = MinTDCF()
    for rows in torch.randperm(len(both), generator=torch.Generator().manual_seed(0)).split(37):
        metric.update(both[rows], targets[rows], torch.tensor(rates, dtype=torch.float64))
    assert float(metric.compute()) == pytest.approx(expected["min_tdcf"], abs=1e-9)


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 30]), st.sampled_from([0, 2]))
def test_is_the_least_cost_of_all_thresholds(seed: int, count: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    targets = np.r_[0, 1, rng.integers(0, 2, count)]
    scores = rng.normal(size=count + 2) + targets
    scores = np.round(scores * levels) / levels if levels else scores
    p_fa, p_miss, p_miss_spoof = RATES
    miss_weight = 0.95 * 0.99 * (1 - p_miss) - 0.95 * 0.01 * 10 * p_fa
    false_alarm_weight = 10 * 0.05 * (1 - p_miss_spoof)
    costs = [
        miss_weight * (scores[targets == 1] < t).mean() + false_alarm_weight * (scores[targets == 0] >= t).mean()
        for t in [*scores, np.inf]
    ]
    expected = min(costs) / min(miss_weight, false_alarm_weight)
    found = min_tdcf(torch.from_numpy(scores), torch.from_numpy(targets), RATES)
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0.0 <= found <= 1.0


@given(st.integers(0, 2**32 - 1), st.sampled_from(["sigmoid", "cube", "shift", "scale"]), st.integers(1, 50))
def test_neither_order_nor_batching_nor_a_monotone_map_matters(seed: int, map_name: str, size: int) -> None:
    monotone = {"sigmoid": torch.sigmoid, "cube": lambda x: x**3, "shift": lambda x: x + 30, "scale": lambda x: x / 9}
    generator = torch.Generator().manual_seed(seed % 2**31)
    targets = torch.cat([torch.tensor([0, 1]), torch.randint(0, 2, (48,), generator=generator)])
    scores = (torch.randn(50, generator=generator) + targets).float().double().round(decimals=3)
    order = torch.randperm(50, generator=generator)
    expected = min_tdcf(scores, targets, RATES)
    assert min_tdcf(monotone[map_name](scores)[order], targets[order], RATES) == expected
    metric = MinTDCF()
    for rows in order.split(size):
        metric.update(scores[rows], targets[rows], torch.tensor(RATES, dtype=torch.float64).repeat(len(rows), 1))
    assert float(metric.compute()) == pytest.approx(expected, abs=1e-12)


def test_separated_and_inverted_scores() -> None:
    scores, targets = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0, 0, 1, 1])
    assert min_tdcf(scores, targets, RATES) == 0.0
    assert min_tdcf(scores, 1 - targets, RATES) == pytest.approx(1.0)
    assert min_tdcf(torch.zeros(4), targets, RATES) == pytest.approx(1.0)


def test_operating_point_counts_scores_at_the_threshold_as_accepted() -> None:
    # the challenge's threshold is the score 1.0: a target, a non-target and a spoof have it
    target, nontarget = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([-2.0, -1.0, 0.5, 1.0])
    assert asv_error_rates(target, nontarget, torch.tensor([0.0, 1.0, 5.0, 0.9, 0.8])) == (0.25, 0.0, 0.6)


def test_bad_input_is_named() -> None:
    some = torch.tensor([0.0, 1.0])
    with pytest.raises(ValueError, match="spoof_scores"):
        asv_error_rates(some, some, torch.zeros(0))
    with pytest.raises(ValueError, match="nontarget_scores"):
        asv_error_rates(some, torch.tensor([math.nan]), some)
    with pytest.raises(ValueError, match="three shares"):
        min_tdcf(some, torch.tensor([0, 1]), (0.1, 0.1, 1.1))
    with pytest.raises(ValueError, match="rejects all spoofs"):
        min_tdcf(some, torch.tensor([0, 1]), (0.1, 0.1, 1.0))
    with pytest.raises(ValueError, match="NaN"):
        min_tdcf(torch.tensor([0.0, math.nan]), torch.tensor([0, 1]), RATES)
    assert math.isnan(min_tdcf(some, torch.tensor([1, 1]), RATES))
    metric = MinTDCF()
    metric.update(some, torch.tensor([0, 1]), torch.tensor([RATES, (0.1, 0.1, 0.1)]))
    with pytest.raises(ValueError, match="one ASV system"):
        metric.compute()
