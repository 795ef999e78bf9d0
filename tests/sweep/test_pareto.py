"""The Pareto set against its definition."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from dyn_lightning.metrics.info import MetricInfo
from dyn_lightning.runs.labels import flat
from dyn_lightning.runs.statistics import pareto_set
from dyn_lightning.sweep.pareto import front_indices, print_front, write_front
from dyn_lightning.sweep.points import Point
from dyn_lightning.sweep.space import SweepError


def by_definition(values):
    def dominates(p, q):
        return p[0] <= q[0] and p[1] <= q[1] and (p[0] < q[0] or p[1] < q[1])

    return {i for i, p in enumerate(values) if not any(dominates(q, p) for q in values)}


# Few different values: ties in one and in both are frequent.
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25))
def test_the_set_is_that_of_the_definition(values):
    front = pareto_set(values)
    assert set(front) == by_definition(values)
    assert len(front) == len(set(front))
    assert [values[i][1] for i in front] == sorted(values[i][1] for i in front)


def test_the_set_of_many_points():
    values = [tuple(v) for v in np.random.default_rng(0).normal(size=(500, 2)).tolist()]
    assert set(pareto_set(values)) == by_definition(values)


def point(error, flops, name, **more):
    options = {"unit": "flops_per_second", "configuration": name, "dataset": None, "settings": {"name": name}}
    return Point(error=error, flops=flops, runs=(name,), **{**options, **more})


POINTS = [point(0.08, 40e6, "beaten"), point(0.05, 80e6, "large"), point(0.07, 20e6, "medium"), point(0.2, 5e6, "tiny")]


def test_what_is_written(tmp_path):
    paths = write_front(POINTS, "val/eer", tmp_path / "deep" / "front.json")
    assert [p.name for p in paths] == ["front.json", "front.png"]
    content = json.loads(paths[0].read_text())
    assert (content["metric"], content["unit"]) == ("val/eer", "flops_per_second")
    assert [entry["runs"] for entry in content["front"]] == [["tiny"], ["medium"], ["large"]]
    assert content["front"][1] == {
        "val/eer": 0.07,
        "flops_per_second": 20e6,
        "label": "name=medium",
        "configuration": "medium",
        "settings": {"name": "medium"},
        "runs": ["medium"],
    }
    assert [entry["runs"] for entry in content["dominated"]] == [["beaten"]]
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SweepError, match=r"must end in \.json"):
        write_front(POINTS, "val/eer", tmp_path / "front.txt")


def test_what_is_printed(capsys):
    print_front(POINTS, "val/eer", Console(width=120))
    printed = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line.startswith("│")]
    assert rows == [
        ["1", "20", "5", "1", "name=tiny"],
        ["2", "7", "20", "1", "name=medium"],
        ["3", "5", "80", "1", "name=large"],
    ]
    assert "val/eer %" in printed
    assert "3 of 4 are on the front" in printed
    print_front(POINTS, "val/eer_at_budget", Console(width=120))
    assert "0.07" in capsys.readouterr().out


def test_of_accuracies_the_more_is_the_better(capsys):
    about = MetricInfo("accuracy", "%", lower_is_better=False)
    points = [point(0.7, 10e6, "worse", about=about), point(0.9, 10e6, "better", about=about)]
    assert front_indices(points) == [1]
    print_front(points, "val/accuracy", Console(width=80))
    assert "the more the better" in capsys.readouterr().out


def test_callbacks_are_told_by_their_names_in_80_columns(capsys):
    def callbacks(*entries):
        made = [{"class_path": f"a.b.{name}", "init_args": options} for name, options in entries]
        return {"settings": flat({"trainer": {"callbacks": made}})}

    whole = [("PhaseSwitch", {"warmup_epochs": 2}), ("LambdaClamp", {}), ("WidthsCheckpoint", {"monitor": "val/eer"})]
    points = [
        point(0.1, 10e6, "a", **callbacks(*whole)),
        point(0.05, 20e6, "b", **callbacks(*whole, ("EarlyStopping", {"patience": 3}))),
        replace(point(0.01, 30e6, "c", **callbacks(("EarlyStopping", {"patience": 9}))), name="uniform 25 %"),
    ]
    print_front(points, "val/eer", Console(width=80))
    printed = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line.startswith("│")]
    assert [row[-1] for row in rows] == ["no EarlyStopping", "EarlyStopping", "uniform 25 %"]


def test_points_that_cannot_be_compared(tmp_path):
    with pytest.raises(SweepError, match="check --metric"):
        print_front([], "val/eer", Console())
    with pytest.raises(SweepError, match="others per call"):
        print_front([*POINTS, point(0.1, 1.0, "x", unit="flops_per_call")], "val/eer", Console())
    mixed = [point(0.1, 1.0, "x", dataset="A"), point(0.1, 1.0, "y", dataset="B")]
    with pytest.raises(SweepError, match=r"several data sets.*--dataset TEXT\n  A\n  B"):
        write_front(mixed, "val/eer", tmp_path / "front.json")
