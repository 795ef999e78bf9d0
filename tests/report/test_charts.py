"""Figures hold the numbers that were found, and say so."""

import numpy as np
import pytest
import torch
from scipy import stats

from dyn_lightning.data.score_files import ScoreTable
from dyn_lightning.report.charts import (
    MOST_CURVES,
    SystemPoint,
    det_charts,
    front_chart,
    front_points,
    kept_charts,
    points_of,
)
from dyn_lightning.report.sources import Published
from dyn_lightning.report.studies import studies_of
from dyn_lightning.runs.statistics import Summary

EERS = {"full": (0.050, 0.060, 0.055), "learned 25 %": (0.070, 0.065, 0.060), "uniform 25 %": (0.08, 0.09, 0.10)}
FLOPS = {"full": 8e6, "learned 25 %": 2e6, "uniform 25 %": 2.1e6}


@pytest.fixture
def study(record, runs):
    given = [record(name, seed, eer, flops=FLOPS[name]) for name in EERS for seed, eer in enumerate(EERS[name])]
    return studies_of(runs(*given))[0]


def test_points_have_the_intervals_of_scipy(study):
    points = {p.name: p for p in points_of(study, "test/eer")}
    assert points.keys() == EERS.keys()
    for name, point in points.items():
        values = 100 * np.array(EERS[name])
        interval = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
        assert (point.flops.mean, point.error.mean) == (FLOPS[name], pytest.approx(values.mean()))
        assert (point.error.low, point.error.high) == pytest.approx(interval)


def test_front_against_every_pair():
    generator = np.random.default_rng(0)
    points = [
        SystemPoint(str(i), "", Summary(1, float(x)), Summary(1, float(y)))
        for i, (x, y) in enumerate(generator.integers(0, 12, (40, 2)))
    ]

    def beaten(p: SystemPoint) -> bool:
        return any(
            q.flops.mean <= p.flops.mean
            and q.error.mean <= p.error.mean
            and (q.flops.mean, q.error.mean) != (p.flops.mean, p.error.mean)
            for q in points
        )

    best = {(p.flops.mean, p.error.mean) for p in points if not beaten(p)}
    front = [(p.flops.mean, p.error.mean) for p in front_points(points)]
    assert front == sorted(best)


def test_figure_shows_means_intervals_and_the_front(study):
    chart = front_chart(study, "test/eer")
    assert chart is not None
    axes = chart.figure.axes[0]
    lines = {line.get_label(): line.get_data() for line in axes.lines if not line.get_label().startswith("_")}
    assert list(lines) == ["front", "full", "uniform", "learned"]
    assert lines["front"][0].tolist() == [2.0, 8.0]
    assert lines["learned"][1] == pytest.approx([6.5])
    assert axes.get_xlabel() == "MFLOPs per second of audio"
    assert axes.get_ylabel() == "EER (%), test"
    low, high = stats.t.interval(0.95, 2, loc=6.5, scale=0.5 / np.sqrt(3))
    bars = [line.get_ydata() for line in axes.lines if len(line.get_xdata()) == 2 and len(set(line.get_xdata())) == 1]
    assert any(bar == pytest.approx([low, high]) for bar in map(list, bars))
    assert len(chart.tips) == 3
    assert "learned 25 %: EER (%), test 6.5 [5.26, 7.74], 2 MFLOPs per second of audio, 3 seeds" in chart.tips.values()
    assert "single run" not in chart.caption


def test_published_points_are_crosses_and_those_without_a_cost_are_none(study):
    published = [Published("Toy", "a", 4e6, 3.0), Published("Toy", "b", None, 2.0)]
    chart = front_chart(study, "test/eer", published)
    assert chart is not None
    crosses = [line for line in chart.figure.axes[0].lines if line.get_label() == "published"]
    assert [line.get_data() for line in crosses] == [([4.0], [3.0])]
    assert "published results on the same data" in chart.caption


def test_costs_are_those_of_the_published_count_where_that_is_another(record, runs):
    costs = (("a", 80e6, 2e6), ("b", 77e6, 0.5e6))
    study = studies_of(runs(*(record(n, flops=f, flops_per_second_published=p) for n, f, p in costs)))[0]
    published = [Published("Toy", n, 1e6, 3.0, "Without the GRU.") for n in "ab"]
    chart = front_chart(study, "test/eer", published, study.published_unit)
    assert chart is not None
    lines = {line.get_label(): line.get_data() for line in chart.figure.axes[0].lines}
    assert sorted(x for name in "ab" for x in lines[name][0]) == [0.5, 2.0]
    assert list(lines["published"][0]) == [1.0, 1.0]
    assert chart.figure.axes[0].get_xlabel() == "MFLOPs per second of audio, as published"
    assert "All other points are of the same count here" in chart.caption
    assert chart.caption.count("Without the GRU.") == 1
    assert any("0.5 MFLOPs per second of audio, as published" in tip for tip in chart.tips.values())
    assert studies_of(runs(record("a")))[0].published_unit is None


def test_one_system_is_no_figure_and_single_runs_are_said_to_be(record, runs):
    assert front_chart(studies_of(runs(record(), record(seed=1)))[0], "test/eer") is None
    assert front_chart(studies_of(runs(record("a", eer=None), record("b")))[0], "test/eer") is None
    chart = front_chart(studies_of(runs(record("a"), record("b", flops=1e6)))[0], "test/eer")
    assert chart is not None
    assert "single run" in chart.caption


def test_what_counts_no_errors_has_no_front(record, runs):
    given = [record(n, metrics={"accuracy": a}, flops=f) for n, a, f in (("a", 0.9, 1e6), ("b", 0.8, 2e6))]
    chart = front_chart(studies_of(runs(*given), ["accuracy"])[0], "accuracy")
    assert chart is not None
    assert "front" not in [line.get_label() for line in chart.figure.axes[0].lines]


def test_bars_are_the_kept_shares():
    sizes = {"conv": (Summary(3, 20.0, 4.0, 10.0, 30.0), 80), "gru": (Summary(3, 64.0, 0.0, 64.0, 64.0), 256)}
    (chart,) = kept_charts({"learned": sizes})
    axes = chart.figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([100, 25, 100, 25])
    assert {text.get_text() for text in axes.texts} == {"learned", "20 / 80", "64 / 256"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["conv", "gru"]
    (whisker,) = axes.collections[0].get_segments()
    assert whisker[:, 0] == pytest.approx([20.0, 30.0])
    assert "whiskers" in chart.caption


def test_systems_with_few_sizes_share_a_figure_and_those_with_many_do_not():
    one = {f"w{i}": (Summary(1, 1.0), 2) for i in range(20)}
    assert len(kept_charts({"a": dict(list(one.items())[:4]), "b": dict(list(one.items())[:4])})) == 1
    assert [chart.title for chart in kept_charts({"a": one, "b": one})] == [
        "What each layer kept: a",
        "What each layer kept: b",
    ]


def scores(seed: int, attacks: int) -> ScoreTable:
    values = torch.randn(40 * (attacks + 1), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    systems = ["-"] * 40 + [f"A{i:02d}" for i in range(attacks) for _ in range(40)]
    keys = ["bonafide" if s == "-" else "spoof" for s in systems]
    return ScoreTable([f"u{i}" for i in range(len(keys))], systems, keys, values)


def test_det_has_a_curve_an_attack_or_a_file():
    def labels(tables):
        return [[text.get_text() for text in c.figure.legends[0].get_texts()] for c in det_charts(tables)]

    assert labels({"ours": scores(0, 3)}) == [["all attacks", "A00", "A01", "A02"]]
    assert labels({"ours": scores(0, 3), "theirs": scores(1, 2)}) == [["ours", "theirs"]]
    names = [f"n{i}" for i in range(2 * MOST_CURVES)]
    found = labels({name: scores(0, 1) for name in names})
    assert [len(group) for group in found] == [8, 8, 2]  # the first is in each
    assert all(group[0] == "n0" for group in found)
    assert [name for group in found for name in group[1:]] == names[1:]
