"""Parameters of sweep files against W&B's semantics; distributions against scipy's."""

import numpy as np
import pytest
from scipy import stats
from sweeps.params import HyperParameter

from dyn_lightning.sweep.space import SweepError, draw, grid_values, read_parameter

N = 4000
LOG = {"min": 1e-4, "max": 1e-1}
LOG_UNIFORM = stats.loguniform(1e-4, 1e-1)

CONTINUOUS = [
    ({"min": -1.0, "max": 3.0}, stats.uniform(-1, 4)),
    ({"distribution": "uniform", "min": -1, "max": 3}, stats.uniform(-1, 4)),
    ({"distribution": "log_uniform_values", **LOG}, LOG_UNIFORM),
    ({"distribution": "inv_log_uniform_values", **LOG}, LOG_UNIFORM),
    ({"distribution": "normal"}, stats.norm(0, 1)),
    ({"distribution": "normal", "mu": 2.0, "sigma": 0.5}, stats.norm(2, 0.5)),
    ({"distribution": "log_normal", "mu": 1.0, "sigma": 0.5}, stats.lognorm(0.5, scale=np.e)),
    ({"distribution": "beta", "a": 2.0, "b": 5.0}, stats.beta(2, 5)),
]


def drawn(given, n=N):
    parameter, rng = read_parameter("x", given), np.random.default_rng(0)
    return [draw(parameter, rng) for _ in range(n)]


@pytest.mark.parametrize(("given", "reference"), CONTINUOUS, ids=lambda v: str(v)[:60])
def test_continuous(given, reference):
    values = drawn(given)
    assert {type(value) for value in values} == {float}
    assert stats.kstest(values, reference.cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("given", "reference"),
    [
        ({"distribution": "q_uniform", "min": 0.0, "max": 10.0, "q": 2}, stats.uniform(0, 10)),
        ({"distribution": "q_log_uniform_values", "min": 1.0, "max": 100.0, "q": 5}, stats.loguniform(1, 100)),
        ({"distribution": "q_normal", "mu": 10.0, "sigma": 4.0, "q": 3}, stats.norm(10, 4)),
        ({"distribution": "q_log_normal", "mu": 2.0, "sigma": 0.5, "q": 2}, stats.lognorm(0.5, scale=np.exp(2))),
        ({"distribution": "q_beta", "a": 2.0, "b": 2.0, "q": 0.25}, stats.beta(2, 2)),
    ],
    ids=lambda v: str(v)[:40],
)
def test_quantised(given, reference):
    """Each multiple of q takes what the distribution has within half a q of it."""
    values, q = np.asarray(drawn(given)), given["q"]
    assert values.dtype.kind == ("i" if isinstance(q, int) else "f")
    steps = np.round(values / q).astype(int)
    np.testing.assert_allclose(values, steps * q)
    multiples = np.arange(steps.min(), steps.max() + 1)
    expected = N * np.diff(reference.cdf((np.append(multiples, multiples[-1] + 1) - 0.5) * q))
    observed = np.bincount(steps - steps.min(), minlength=len(multiples))
    common = expected >= 5
    assert (
        stats.chisquare(
            np.append(observed[common], observed[~common].sum() + 1e-9),
            _scaled(np.append(expected[common], expected[~common].sum() + 1e-9)),
        ).pvalue
        > 1e-3
    )


def _scaled(expected):
    return expected * N / expected.sum() if expected.sum() else expected


def test_integers_include_both_ends():
    values = drawn({"min": 3, "max": 6})
    assert {type(v) for v in values} == {int}
    assert stats.chisquare([values.count(v) for v in (3, 4, 5, 6)]).pvalue > 1e-3


def test_categories_and_their_probabilities():
    values = drawn({"values": ["a", None, True]})
    assert stats.chisquare([values.count(v) for v in ("a", None, True)]).pvalue > 1e-3
    values = drawn({"values": [16, 32, 64], "probabilities": [0.2, 0.5, 0.3]})
    assert stats.chisquare([values.count(v) for v in (16, 32, 64)], [0.2 * N, 0.5 * N, 0.3 * N]).pvalue > 1e-3
    assert set(drawn({"value": [32, 64]}, 3).__repr__()) == set("[[32, 64], [32, 64], [32, 64]]")


def test_values_of_a_grid():
    def values(**given):
        return grid_values(read_parameter("x", given))

    assert values(value="cpu") == ["cpu"]
    assert values(values=[0.5, None]) == [0.5, None]
    assert values(min=2, max=5) == [2, 3, 4, 5]
    assert values(distribution="q_uniform", min=0, max=6, q=2) == [0, 2, 4]
    with pytest.raises(SweepError, match=r"parameter x: a grid has no place for uniform"):
        values(min=0.0, max=1.0)
    with pytest.raises(SweepError, match="categorical_w_probabilities"):
        values(values=[1, 2], probabilities=[0.5, 0.5])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "must be a mapping"),
        ({}, "give value, values, a distribution"),
        ({"min": 1, "max": 2.0}, "both whole or both with a decimal point"),
        ({"min": "1e-4", "max": "1e-2"}, r"write 1\.0e-3"),
        ({"distribution": "uniform", "min": "1e-4", "max": 1.0}, r"min='1e-4' must be a number"),
        ({"distribution": "gamma"}, "unknown distribution 'gamma'"),
        ({"distribution": "log_uniform", "min": -3, "max": 0}, "Use log_uniform_values"),
        ({"distribution": "log_uniform_values", "min": 0.0, "max": 1.0}, "above 0"),
        ({"distribution": "uniform", "min": 0.0}, "needs max"),
        ({"distribution": "uniform", "min": 0.0, "max": 1.0, "q": 2}, "no use for q"),
        ({"min": 2.0, "max": 2.0}, "must be less than"),
        ({"distribution": "uniform", "min": float("nan"), "max": 2.0}, "min=nan must be finite"),
        ({"distribution": "int_uniform", "min": 1.5, "max": 3}, "must be whole"),
        ({"distribution": "normal", "sigma": -1.0}, "must not be negative"),
        ({"distribution": "q_normal", "q": 0}, "q=0 must be above 0"),
        ({"values": []}, "a value at least"),
        ({"values": [1, 2], "probabilities": [0.5]}, "2 values have 1 probabilities"),
        ({"values": [1, 2], "probabilities": [0.5, 0.6]}, "sum to 1"),
        ({"parameters": {"lr": {"value": 1}}}, r"nested .* x\.lr"),
    ],
    ids=str,
)
def test_what_is_refused(given, message):
    with pytest.raises(SweepError, match=f"parameter x: .*{message}"):
        read_parameter("x", given)


def test_quantiles_are_those_of_wandbs_own_engine():
    """W&B's engine draws by its quantile function: uniform numbers through it must look like our draws."""
    percentiles = np.random.default_rng(1).uniform(size=1000)
    for given, _ in CONTINUOUS:
        theirs = HyperParameter("x", dict(given)).ppf(percentiles)
        assert stats.ks_2samp(drawn(given), theirs).pvalue > 1e-3, given
    for given in ({"distribution": "q_normal", "mu": 10.0, "sigma": 4.0, "q": 3}, {"min": 3, "max": 6}):
        theirs = np.asarray(HyperParameter("x", dict(given)).ppf(percentiles)).tolist()
        assert {type(v) for v in theirs} == {int}
        assert stats.ks_2samp(drawn(given), theirs).pvalue > 1e-3, given
