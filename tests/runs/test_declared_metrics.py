"""A task that measures what nobody here has heard of: all readers go by its declaration, none by a name."""

from pathlib import Path

import pytest

from dyn_lightning.cli.run_end import metric_lines, shown
from dyn_lightning.metrics.info import EER_INFO, MetricInfo
from dyn_lightning.report.sources import read_published
from dyn_lightning.report.studies import Run, studies_of
from dyn_lightning.report.tables import systems_table
from dyn_lightning.runs.history import history_figure, read_history
from dyn_lightning.runs.measures import DECLARED, KEY, info_of, main_metrics, usual_metric, write_declared
from dyn_lightning.runs.records import append_result
from dyn_lightning.sweep.pareto import front_indices
from dyn_lightning.sweep.points import metric_of, read_points

DER = MetricInfo("DER", "%", lower_is_better=True, main=True)
RECALL = MetricInfo("recall of turns", "%", lower_is_better=False)
DELAY = MetricInfo("delay", "ms", lower_is_better=True)


def record(seed: int, der: float, flops: float) -> dict:
    values = {"der": (der, DER), "turns": (0.5, RECALL), "delay": (40.0, DELAY), "loss": (1.0, MetricInfo("loss"))}
    found = {f"{stage}/{name}": pair for stage in ("val", "test") for name, pair in values.items()}
    return {
        "config": {"width": flops},
        "config_hash": f"{flops}",
        "seed": seed,
        "dataset": "Toy",
        "metrics": {name: value for name, (value, _) in found.items()},
        KEY: {name: about.as_dict() for name, (_, about) in found.items()},
        "der_interval": [der - 0.01, der + 0.01],
        "flops_per_call": flops,
        "flops_per_call_before": 100.0,
    }


RECORDS = [record(0, 0.25, 100.0), record(0, 0.20, 50.0)]


def test_a_report_compares_by_the_task_s_main_metric():
    (study,) = studies_of([Run(one, f"r:{i}") for i, one in enumerate(RECORDS)])
    assert (study.metrics, study.main_metric) == (["test/der"], "test/der")
    assert study.other_metrics == ["test/turns", "test/delay"]
    table = systems_table(study)
    titles = {column.key: column.title for column in table.columns}
    assert titles["test_der_percent"] == "DER (%), test"
    assert (titles["turns_percent"], titles["delay"]) == ("recall of turns (%)", "delay (ms)")
    first = table.rows[0]
    assert (first["der_utterances_low"], first["der_utterances_high"]) == pytest.approx((24.0, 26.0))
    assert first["turns_percent"].mean == 50.0


def test_a_sweep_s_points_go_by_it_where_nobody_names_a_metric(tmp_path: Path):
    for one in RECORDS:
        append_result(tmp_path / "r.jsonl", one)
    source = str(tmp_path / "r.jsonl")
    assert metric_of([source]) == "val/der"
    assert metric_of(["wandb:me/project"]) == "val/eer"  # what was the default
    points = read_points([source], "val/turns").points
    assert front_indices(points) == [1]  # of equal recall the cheaper
    assert front_indices(read_points([source], "val/der").points) == [1]


def test_a_log_is_drawn_with_what_lies_beside_it(tmp_path: Path):
    log = tmp_path / "metrics.csv"
    log.write_text("step,val/der,val/turns,val/eer\n1,0.5,0.1,0.25\n2,0.25,0.2,0.2\n")
    assert list(read_history(log, "").errors) == ["val/eer"]  # by name: nobody has declared anything
    write_declared({"val/der": DER, "val/turns": RECALL, "val/eer": MetricInfo("EER", "%", True)}, tmp_path / DECLARED)
    history = read_history(log, "")
    assert list(history.errors) == ["val/der"]
    axes = history_figure(history).axes[-1]
    assert axes.get_ylabel() == "DER (%)"
    assert axes.lines[0].get_ydata().tolist() == [50.0, 25.0]


def test_lines_for_people_go_by_it():
    about = {"test/der": DER, "test/delay": DELAY}
    metrics = {"test/der": 0.125, "test/delay": 40.0, "test/loss": 0.123456, "train/loss": 1.0}
    assert metric_lines(metrics, about) == ["test: der 12.50 %, delay 40 ms, loss 0.1235"]
    assert (shown("test/eer_A01", 0.0651234, {}), shown("val/eer_at_budget", 0.5, {})) == ("6.51 %", "0.5")
    assert [shown(f"val/{name}", 0.5, {}) for name in ("recall", "f1", "miss_rate", "mae")] == ["50.00 %"] * 3 + ["0.5"]


def test_published_results_of_another_metric(tmp_path: Path):
    (tmp_path / "p.csv").write_text("dataset,system,mflops,der_percent\nToy,theirs,2,7.5\n")
    (point,) = read_published(tmp_path / "p.csv")
    assert (point.metric, point.error_percent) == ("der", 7.5)


def test_records_from_before_tasks_said_what_they_are_judged_by():
    undeclared = {"metrics": {"val/eer": 0.1, "test/eer": 0.1, "test/eer_A01": 0.2}}
    without_main = {**undeclared, KEY: {name: {"label": "EER", "unit": "%"} for name in ("val/eer", "test/eer")}}
    for one in (undeclared, without_main):
        assert main_metrics(one["metrics"], [one], "test") == ["test/eer"]
        assert usual_metric([one]) == "val/eer"
    declared = {"metrics": {"val/eer": 0.1}, KEY: {"val/eer": {"label": "EER"}, "val/der": DER.as_dict()}}
    assert not info_of("val/eer", [declared]).is_main
    assert MetricInfo.from_dict(EER_INFO.as_dict()) == EER_INFO
    with pytest.raises(ValueError, match="main is 'yes'"):
        MetricInfo.from_dict({"label": "x", "main": "yes"})
