"""Reports: lines of results and the figure."""

import getpass
import json
import math
import platform
import re
import sys
import threading
from types import ModuleType

import pytest
import torch
from torch import nn

from dyn_lightning.errors import UserError
from dyn_lightning.metrics.info import MetricInfo
from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import LambdaSquared
from dyn_lightning.runs import (
    append_result,
    config_hash,
    keep_result,
    plot_history,
    read_results,
    read_runs,
    result_record,
)
from dyn_lightning.runs.environment import device_name
from dyn_lightning.tasks import Regression


def test_lines_come_back_and_nan_is_null(tmp_path):
    path = tmp_path / "study" / "results.jsonl"
    append_result(path, {"a": 1, "nested": {"x": math.nan, "y": [1.0, math.inf]}})
    append_result(path, {"a": 2})
    assert read_results(path) == [{"a": 1, "nested": {"x": None, "y": [1.0, None]}}, {"a": 2}]


def test_a_run_that_goes_on_has_one_line(tmp_path):
    path, folder = tmp_path / "results.jsonl", tmp_path / "version_0"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").touch()
    last, own = str(folder / "checkpoints" / "last.ckpt"), str(folder / "config.yaml")
    base = {"config": {"lr": 1}, "config_hash": "a", "dataset": "d", "flops_per_call": 5.0}
    others = [
        {**base, "seed": 1, "n": 0},
        {**base, "config_hash": "b", "config": {"lr": 2}, "seed": 0, "config_file": own, "n": 1},  # fewer epochs
        {**base, "dataset": "e", "seed": 0, "n": 2},
    ]
    for record in (*others, {**base, "seed": 0, "n": 3}, {**base, "seed": 33, "config_file": own, "n": 4}):
        append_result(path, record)
    keep_result(path, {**base, "seed": 0, "n": 5}, went_on_from=None)  # the run made twice: two lines
    assert len(read_results(path)) == 6
    keep_result(path, {**base, "seed": 0, "n": 6}, went_on_from=last)  # 33: drawn anew as it went on
    assert [record["n"] for record in read_results(path)] == [0, 1, 2, 6]
    assert read_results(path)[:3] == others
    keep_result(path, {**base, "seed": 7, "n": 7}, went_on_from="best")
    assert [record["n"] for record in read_results(path)] == [0, 1, 2, 6, 7]


def test_writers_at_the_same_time_do_not_mix(tmp_path):
    path, filler = tmp_path / "results.jsonl", "x" * 20000

    def write(number: int) -> None:
        for i in range(20):
            append_result(path, {"number": number, "i": i, "filler": filler})

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {(r["number"], r["i"]) for r in read_results(path)}
    assert found == {(n, i) for n in range(4) for i in range(20)}


def test_damaged_line_is_named(tmp_path):
    path = tmp_path / "results.jsonl"
    for damaged in ("nonsense", '{"a": 1}{"a": 2}', "[1]", "{'a': 1}"):
        path.write_text(f'{{"a": 1}}\n{damaged}\n')
        with pytest.raises(UserError, match=r"results\.jsonl, line 2: is no JSON"):
            read_results(path)
    path.write_bytes(b'{"a": "\xff"}\n')
    with pytest.raises(UserError, match="line 1: is no UTF-8"):
        read_results(path)


@pytest.mark.parametrize("length", range(1, 24))
def test_a_torn_line_is_left_out_and_named(tmp_path, caplog, length):
    path, whole = tmp_path / "results.jsonl", '{"a": [1, {"b": "c"}]}\n'
    path.write_text(whole + whole[:length])
    torn = length < len(whole) - 1
    assert len(read_results(path)) == (1 if torn else 2)
    assert ("results.jsonl, line 2: is cut off" in caplog.text) == torn
    append_result(path, {"a": 2})
    assert read_results(path)[-1] == {"a": 2}
    assert len(read_results(path)) == (2 if torn else 3)


def test_what_is_no_json_leaves_the_file_alone(tmp_path):
    with pytest.raises(TypeError):
        append_result(tmp_path / "results.jsonl", {"a": object()})
    assert not (tmp_path / "results.jsonl").exists()


def test_record_says_what_the_run_was_made_with(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/dyn-lightning", "fit", "-c", "a b.yaml"])
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    module = DynamicModule(
        nn.Linear(2, 3), Regression(), None, dynamic=[], example_duration_s=None, example_shape=[1, 2]
    )
    given = {"metrics": {}, "config": {}, "seed": 0, "dataset": "toy", "wall_time_s": 1.0}
    record = result_record(module, **given, history={"step": [0.0, 5.0], "width/a/size": [2.0, 1.0]})
    assert record["command"] == "dyn-lightning fit -c 'a b.yaml'"
    assert record["history"] == {"step": [0, 5], "width/a/size": [2, 1]}
    assert record["threads"] == torch.get_num_threads()
    assert record["device"] == device_name(torch.device("cpu"))
    assert record["platform"].split()[0] in ("Linux", "Darwin", "Windows")
    assert not {platform.node(), getpass.getuser()} & set(re.findall(r"[\w.-]+", json.dumps(record)))
    plain = result_record(module, **given, command="make it")
    assert plain["command"] == "make it"
    assert "history" not in plain


def test_record_holds_both_counts_and_the_widths():
    module = DynamicModule(
        nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3)),
        Regression(),
        LambdaSquared(),
        example_duration_s=None,
        example_shape=[1, 10],
    )
    module.widths["0"].set_lam(0.5)
    record = result_record(module, metrics={"test/l1": 0.5}, config={"lr": 1}, seed=3, dataset="toy", wall_time_s=1.5)
    assert record["widths"] == {"0": [4, 8]}
    assert record["parameters"] == 10 * 4 + 4 + 4 * 3 + 3
    assert record["parameters_before"] == 10 * 8 + 8 + 8 * 3 + 3
    # With bias a linear layer is 2·in·out in the paper's convention; a ReLU costs one per element.
    assert record["flops_per_call_paper"] == 2 * 10 * 4 + 4 + 2 * 4 * 3
    assert record["flops_per_call"] < record["flops_per_call_before"]
    assert (record["seed"], record["dataset"], record["metrics"]) == (3, "toy", {"test/l1": 0.5})
    json.dumps(record)


def test_of_runs_that_are_written_down_twice_the_latest_is_read(tmp_path, caplog):
    path = tmp_path / "results.jsonl"
    for seed, error in ((0, 0.1), (1, 0.2), (0, 0.3)):
        append_result(path, {"config_hash": "a", "seed": seed, "metrics": {"val/eer": error}})
    assert [r["metrics"]["val/eer"] for r in read_runs(path)] == [0.3, 0.2]
    assert "results.jsonl: 1 record is left out" in caplog.text


def test_a_record_says_what_its_metrics_are():
    module = DynamicModule(
        nn.Linear(2, 3), Regression(), None, dynamic=[], example_duration_s=None, example_shape=[1, 2]
    )
    module.metric_info = {"test/l1": MetricInfo("l1", lower_is_better=True), "val/l1": MetricInfo("l1")}
    record = result_record(module, metrics={"test/l1": 1.0}, config={}, seed=0, dataset="", wall_time_s=0.0)
    assert record["metric_info"] == {"test/l1": {"label": "l1", "lower_is_better": True}}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["finished_utc"])


def test_config_hash_ignores_the_order_and_sees_every_value():
    assert config_hash({"a": 1, "b": {"c": 2, "d": 3}}) == config_hash({"b": {"d": 3, "c": 2}, "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})


def test_figure_is_written_whole(tmp_path):
    history = {
        "step": [1.0, 2.0, 3.0],
        "width/conv/size": [8.0, 6.0, 5.0],
        "complexity/flops_per_second": [2e6, 1e6, 9e5],
    }
    plot_history(history, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["figure.png"]


def test_empty_history_names_the_mend(tmp_path):
    with pytest.raises(ValueError, match="log_every_n_steps"):
        plot_history({}, tmp_path / "figure.png")
