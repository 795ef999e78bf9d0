"""What runs say of methods: by hand."""

import math

import pytest

from experiments.peers.analysis import Comparison, flops_to_reach, front, mean_gap, paired, parse_name, points


def record(system, seed, test, validation=0.1, flops=1e6, wall_time_s=10.0, lr=1e-3):
    return {
        "config": {"system": system, "lr": lr},
        "seed": seed,
        "metrics": {"test/eer": test, "val/eer": validation},
        "flops_per_second": flops,
        "wall_time_s": wall_time_s,
    }


def eer(r):
    return r["metrics"]["test/eer"]


def test_names_tell_method_and_budget():
    assert parse_name("growing 6.25 %") == ("growing", "6.25")
    assert parse_name("random 25 %, trial 2") == ("random", "25")
    assert parse_name("full") == ("full", "")
    assert parse_name("paper, bands, β 0.5") is None
    assert parse_name("growing") is None


def test_of_trials_validation_chooses_and_all_are_paid_for():
    trials = [
        record(f"random 25 %, trial {i + 1}", 0, t, v) for i, (t, v) in enumerate([(0.3, 0.2), (0.4, 0.1), (0.1, 0.3)])
    ]
    (point,) = points([*trials, record("random 25 %, trial 1", 1, 0.2)])  # seed 1 is not complete
    assert [eer(r) for r in point.runs.values()] == [0.4]
    assert point.spent_s == {0: 30.0}
    (resumed,) = points([*trials[:2], trials[2] | {"resumed": True}])  # its time is that of the rest
    assert resumed.spent_s == {}
    assert point.name == "random 25 %"


def test_rows_follow_the_methods_and_fall_in_budget():
    found = points(record(s, 0, 0.1) for s in ("uniform 6.25 %", "growing 6.25 %", "growing 25 %", "full", "other"))
    assert [p.name for p in found] == ["full", "growing 25 %", "growing 6.25 %", "uniform 6.25 %"]


def test_differences_are_by_seed():
    a, b = points(
        [record("growing 25 %", s, t) for s, t in ((0, 0.1), (1, 0.2), (2, 0.4))]
        + [record("uniform 25 %", s, t) for s, t in ((0, 0.2), (1, 0.1), (3, 0.9))]
    )
    found = paired(b, a, eer)
    assert found.n == 2
    assert found.mean == pytest.approx(0.0)
    assert found.sd == pytest.approx(math.sqrt(0.02))
    assert a.flops_per_second == 1e6


def test_area_between_fronts_over_log_flops():
    flat = [(1.0, 2.0), (100.0, 2.0)]
    assert mean_gap(flat, [(1.0, 3.0), (100.0, 5.0)]) == pytest.approx(2.0)
    assert mean_gap(flat, [(10.0, 3.0), (1000.0, 5.0)]) == pytest.approx(1.5)
    assert mean_gap(flat, [(200.0, 1.0), (300.0, 1.0)]) is None
    runs = points([record("growing 25 %", 0, 0.1, flops=5.0), record("growing 6.25 %", 0, 0.3, flops=2.0)])
    assert front(runs, eer) == [(2.0, 0.3), (5.0, 0.1)]


def test_where_a_front_reaches_a_value():
    down = [(1.0, 8.0), (100.0, 4.0)]
    assert flops_to_reach(6.0, down) == pytest.approx(10.0)
    assert flops_to_reach(9.0, down) == 1.0
    assert flops_to_reach(4.0, down) == pytest.approx(100.0)
    assert flops_to_reach(3.0, down) is None


def test_validation_chooses_the_learning_rate_over_the_first_seeds_that_all_have():
    slow = [record("uniform 25 %", s, 0.1, v) for s, v in ((0, 0.30), (1, 0.20), (2, 0.01))]
    fast = [record("uniform 25 %", s, 0.9, v, lr=3e-3) for s, v in ((0, 0.19), (1, 0.29))]
    late = record("uniform 25 %", 2, 0.9, 0.99, lr=3e-3)
    assert Comparison(points([*slow, *fast, late])).rate("uniform", "25") == 3e-3  # the third seed has no say
    assert Comparison(points([*slow, *fast, late]), 3).rate("uniform", "25") == 1e-3
    comparison = Comparison(points(slow + fast))
    assert [p.lr for p in comparison.tried] == [1e-3, 3e-3]
    (chosen,) = comparison.chosen
    assert chosen.lr == 3e-3  # 0.24 against 0.25; seed 2 has no say, nor has test
    assert sorted(chosen.runs) == [0, 1]


def test_rates_without_a_seed_in_common_go_by_the_number_of_runs():
    runs = [record("full", 0, 0.1, 0.1), *(record("full", s, 0.1, 0.9, lr=3e-3) for s in (1, 2))]
    assert Comparison(points(runs)).rate("full", "") == 3e-3
    assert Comparison([]).rate("full", "") is None


def test_what_changes_one_thing_is_compared_at_the_same_learning_rate():
    ours = [record("growing 25 %", 0, 0.5, 0.2), record("growing 25 %", 0, 0.6, 0.1, lr=3e-3)]
    changed = [record("linear 25 %", 0, 0.7, 0.1), record("linear 25 %", 0, 0.8, 0.4, lr=3e-3)]
    late = [record("wide boundary 25 %", 0, 0.7)]  # not yet run at the rate that ours has now
    comparison = Comparison(points(ours + changed + late + [record("uniform 25 %", 0, 0.3)]))
    beside = {p.method: (p.lr, (o := comparison.beside(p)).method, o.lr) for p in comparison.chosen}
    assert beside == {
        "growing": (3e-3, "growing", 3e-3),
        "uniform": (1e-3, "growing", 3e-3),
        "linear": (3e-3, "growing", 3e-3),
        "wide boundary": (1e-3, "growing", 1e-3),
    }
