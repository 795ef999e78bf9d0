"""Bootstrap intervals against the binomial distribution that they have at a fixed threshold."""

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm

from dyn_lightning.metrics.bootstrap import bootstrap_interval
from dyn_lightning.metrics.eer import eer


def miss_rate(scores: torch.Tensor, targets: torch.Tensor) -> float:
    """Misses at the threshold 0."""
    return float((scores[targets == 1] < 0).double().mean())


def false_alarm_rate(scores: torch.Tensor, targets: torch.Tensor) -> float:
    return float((scores[targets == 0] >= 0).double().mean())


def gaussians(n_positive: int, n_negative: int, seed: int, shift: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    scores = np.r_[rng.normal(shift, 1, n_positive), rng.normal(-shift, 1, n_negative)]
    return torch.from_numpy(scores), torch.tensor([1] * n_positive + [0] * n_negative)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_resampled_errors_at_a_fixed_threshold_are_binomial(confidence: float) -> None:
    scores, targets = gaussians(150, 400, seed=1)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    for statistic, count in ((miss_rate, 150), (false_alarm_rate, 400)):
        expected = binom.ppf(tails, count, statistic(scores, targets)) / count
        found = bootstrap_interval(statistic, scores, targets, confidence=confidence, n_resamples=2000)
        np.testing.assert_allclose(found, expected, atol=1.5 / count)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    truth, hits, trials = norm.cdf(-1.0), 0, 150
    for seed in range(trials):
        scores, targets = gaussians(200, 2, seed)
        low, high = bootstrap_interval(miss_rate, scores, targets, confidence=0.9, n_resamples=100)
        hits += low <= truth <= high
    # 0.9 but for the chance of so many trials, three standard deviations wide
    assert hits / trials == pytest.approx(0.9, abs=3 * np.sqrt(0.9 * 0.1 / trials))


def test_eer_of_gaussians_lies_in_its_interval_which_shrinks_with_their_number() -> None:
    widths = []
    for count in (100, 1600):
        scores, targets = gaussians(count, count, seed=3)
        low, high = bootstrap_interval(lambda s, t: eer(s, t)[0], scores, targets, n_resamples=300)
        assert low < norm.cdf(-1.0) < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4.0, rel=0.35)


def test_groups_count_as_one_draw_each() -> None:
    # every utterance five times over, by one speaker each: the resamples are those of a fifth of the utterances
    scores, targets = gaussians(80, 80, seed=2)
    speakers = [f"s{i}" for i in range(160)] * 5
    few = bootstrap_interval(miss_rate, scores, targets, n_resamples=2000)
    many, labels = scores.repeat(5), targets.repeat(5)
    by_speaker = bootstrap_interval(miss_rate, many, labels, groups=speakers, n_resamples=2000)
    by_utterance = bootstrap_interval(miss_rate, many, labels, n_resamples=2000)
    np.testing.assert_allclose(by_speaker, few, atol=0.02)
    ratio = (by_speaker[1] - by_speaker[0]) / (by_utterance[1] - by_utterance[0])
    assert ratio == pytest.approx(np.sqrt(5), rel=0.15)


def test_draws_that_lack_a_class_are_drawn_again() -> None:
    scores, targets = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0, 0, 1])
    low, high = bootstrap_interval(lambda s, t: eer(s, t)[0], scores, targets, groups=["a", "b", "c"], n_resamples=50)
    assert (low, high) == (0.0, 0.0)


def test_the_statistic_sees_ascending_scores_of_either_class_in_their_number_and_seeds_repeat() -> None:
    scores, targets = gaussians(30, 50, seed=4)
    seen = []

    def statistic(s: torch.Tensor, t: torch.Tensor) -> float:
        assert (s.diff() >= 0).all()
        assert (int((t == 1).sum()), int((t == 0).sum())) == (30, 50)
        pairs = {(float(a), int(b)) for a, b in zip(s, t, strict=True)}
        assert pairs <= {(float(a), int(b)) for a, b in zip(scores, targets, strict=True)}
        seen.append(len(pairs))
        return float(s.mean())

    first = bootstrap_interval(statistic, scores, targets, n_resamples=40)
    assert 0.55 < np.mean(seen) / 80 < 0.7  # 1 − 1/e of them in each
    shuffled = torch.randperm(80, generator=torch.Generator().manual_seed(0))
    assert bootstrap_interval(statistic, scores[shuffled], targets[shuffled], n_resamples=40) == pytest.approx(first)
    assert bootstrap_interval(statistic, scores, targets, n_resamples=40, seed=1) != first


def test_bad_input_is_named() -> None:
    scores, targets = gaussians(3, 3, seed=0)
    with pytest.raises(ValueError, match="both classes"):
        bootstrap_interval(miss_rate, scores, torch.ones(6))
    with pytest.raises(ValueError, match="there are 5"):
        bootstrap_interval(miss_rate, scores, targets, groups=["a"] * 5)
    with pytest.raises(ValueError, match="target of 0 or 1"):
        bootstrap_interval(miss_rate, scores, -targets)
    with pytest.raises(ValueError, match="confidence=95"):
        bootstrap_interval(miss_rate, scores, targets, confidence=95)
    with pytest.raises(ValueError, match="NaN"):
        bootstrap_interval(miss_rate, scores * torch.nan, targets)
