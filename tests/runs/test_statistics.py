"""Means and t intervals against scipy's."""

import numpy as np
import pytest
from scipy import stats

from dyn_lightning.runs.statistics import Summary, summarise, t_quantile


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_quantiles_are_those_of_scipy(confidence):
    for degrees in [*range(1, 40), 99, 100, 500]:
        assert t_quantile(confidence, degrees) == pytest.approx(stats.t.ppf((1 + confidence) / 2, degrees), rel=1e-10)


@pytest.mark.parametrize("n", [2, 3, 4, 10, 11])
def test_interval_of_the_mean(n):
    values = np.random.default_rng(n).normal(5, 2, n)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    found = summarise([None, *values, None])
    assert found is not None
    assert (found.n, found.mean, found.sd) == (n, pytest.approx(values.mean()), pytest.approx(values.std(ddof=1)))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_a_single_value_has_no_interval_and_none_no_mean():
    assert summarise([3.0, None]) == Summary(1, 3.0)
    assert summarise([None]) is None


@pytest.mark.parametrize(("confidence", "degrees"), [(0.0, 3), (1.0, 3), (0.95, 0)])
def test_what_has_no_quantile(confidence, degrees):
    with pytest.raises(ValueError, match="confidence"):
        t_quantile(confidence, degrees)
