"""Tables against numbers computed anew, as values and as CSV."""

import csv
import io

import numpy as np
import pytest
import torch
from scipy import stats

from dyn_lightning.data.score_files import ScoreTable
from dyn_lightning.report import tables
from dyn_lightning.report.studies import studies_of

EERS = {"full": (0.0512, 0.0633, 0.0571), "learned 25 %": (0.0701, 0.0652, 0.0618)}


@pytest.fixture
def study(record, runs):
    bins = ("<5", "5-15", "15-25", ">=25", "-10--5")
    given = []
    for name, eers in EERS.items():
        for seed, eer in enumerate(eers):
            metrics = {f"test/eer_snr_db_{b}": eer + 0.01 * i for i, b in enumerate(bins)}
            metrics |= {"test/eer_A07": 2 * eer, "test/eer_A10": eer / 2, "val/eer_A01": 0.3, "test/min_tdcf": 0.1}
            flops = 8e6 if name == "full" else 2e6 + 1000 * seed
            widths = {} if name == "full" else {"conv": [20 + seed, 80]}
            last = {"metrics_last": {"test/eer": eer + 0.001}} if name == "full" else {}
            given.append(record(name, seed, eer, flops=flops, metrics=metrics, widths=widths, **last))
    return studies_of(runs(*given))[0]


def parsed(table: tables.Table) -> dict[str, dict[str, str]]:
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    return {row[next(iter(row))]: row for row in rows}


def test_systems_csv_against_numpy_and_scipy(study):
    rows = parsed(tables.systems_table(study))
    assert list(rows) == ["full", "full, last checkpoint", "learned 25 %"]
    for name, eers in EERS.items():
        values = 100 * np.array(eers)
        low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
        expected = {"": values.mean(), "_sd": values.std(ddof=1), "_low": low, "_high": high, "_n": 3}
        for part, value in expected.items():
            assert float(rows[name][f"test_eer_percent{part}"]) == pytest.approx(value)
    learned = rows["learned 25 %"]
    flops = np.array([2e6, 2.001e6, 2.002e6])
    assert float(learned["flops_per_second"]) == pytest.approx(flops.mean())
    assert float(learned["percent_of_full"]) == pytest.approx(100 * flops.mean() / 8e6)
    assert float(learned["percent_of_learnable"]) == pytest.approx(100 * (flops.mean() - 1e6) / 7e6)
    assert float(learned["flops_per_second_paper"]) == pytest.approx(0.9 * flops.mean())
    assert float(learned["parameters"]) == 1001
    assert float(learned["wall_time_s"]) == 11
    assert float(rows["full, last checkpoint"]["test_eer_percent"]) == pytest.approx(100 * np.mean(EERS["full"]) + 0.1)
    assert rows["full, last checkpoint"]["min_tdcf"] == ""


def test_snr_from_low_to_high(study):
    table, _ = tables.group_tables(study)
    assert [column.title for column in table.columns[2:]] == ["-10--5", "<5", "5-15", "15-25", ">=25"]
    rows = parsed(table)
    assert float(rows["full"]["15-25"]) == pytest.approx(100 * np.mean(EERS["full"]) + 2)
    assert float(rows["full"]["15-25_sd"]) == pytest.approx(100 * np.std(EERS["full"], ddof=1))


def test_attacks_are_those_of_the_test(study):
    _, table = tables.group_tables(study)
    assert [column.key for column in table.columns[2:]] == ["A07", "A10"]
    assert float(parsed(table)["learned 25 %"]["A07"]) == pytest.approx(200 * np.mean(EERS["learned 25 %"]))


def test_several_test_sets_are_several_files(record, runs):
    metrics = {"test/eer": None, "test/a/eer_snr_db_<5": 0.1, "test/b c/../d/eer_snr_db_<5": 0.1}
    found = tables.group_tables(studies_of(runs(record(metrics=metrics)))[0])
    assert [table.name for table in found] == ["snr-a", "snr-b-c-..-d"]


def test_tables_without_data_are_empty(record, runs):
    study = studies_of(runs(record(widths={})))[0]
    assert tables.group_tables(study) == []
    assert not tables.sizes_table(study)
    assert not tables.versions_table(runs({**record(), "versions": {}}))
    titles = [column.title for column in tables.systems_table(study).columns]
    assert "min t-DCF" not in titles
    assert "% of learnable" not in titles


def test_interval_over_utterances_and_resumed_runs(record, runs):
    given = [record(seed=s, eer_interval=[0.04 + s / 100, 0.1], resumed=bool(s)) for s in (0, 1)]
    row = parsed(tables.systems_table(studies_of(runs(*given))[0]))["learned 25 %"]
    assert (float(row["eer_utterances_low"]), float(row["eer_utterances_high"])) == pytest.approx((4.5, 10.0))
    assert (row["wall_time_s"], row["wall_time_s_n"]) == ("10.0", "1")  # of a resumed run it is only a part


def test_sizes_and_runs(study):
    rows = list(csv.DictReader(io.StringIO(tables.sizes_table(study).csv())))
    assert rows == [
        {
            **{"system": "learned 25 %", "size": "conv", "kept": "21.0", "kept_sd": "1.0", "kept_n": "3"},
            **{"kept_low": rows[0]["kept_low"], "kept_high": rows[0]["kept_high"], "full": "80", "percent": "26.25"},
        }
    ]
    table = tables.runs_table(study)
    assert [(row["system"], row["seed"], row["place"]) for row in table.rows[2:4]] == [
        ("full", 2, "results.jsonl:3"),
        ("learned 25 %", 0, "results.jsonl:4"),
    ]
    assert "resumed" not in [column.key for column in table.columns]


def test_layers_of_an_artifact():
    layer = {"name": "conv", "kind": "Conv1d", "role": "DCL", "parameters_before": 10, "parameters_after": 5}
    costs = {"flops_per_second_before": 100.0, "flops_per_second_after": 50.0, "share_before": 0.4, "share_after": 0.5}
    table = tables.layers_table({"unit": "flops_per_second", "layers": [{**layer, **costs}]}, "layers")
    row = parsed(table)["conv"]
    assert (row["percent_before"], row["flops_per_second_after"], row["parameters_after"]) == ("40.0", "50.0", "5")


def test_scores_by_hand():
    """The second attack lies above all bona fide speech but one of four; the first below."""
    scores = torch.tensor([1.0, 2.0, 3.0, 9.0, -1.0, -2.0, 5.0, 6.0], dtype=torch.float64)
    systems = ["-"] * 4 + ["A01"] * 2 + ["A02"] * 2
    keys = ["bonafide"] * 4 + ["spoof"] * 4
    table = tables.scores_table({"ours": ScoreTable([f"u{i}" for i in range(8)], systems, keys, scores)})
    row = parsed(table)["ours"]
    assert (row["n_bonafide"], row["n_spoof"]) == ("4", "4")
    assert float(row["A01"]) == 0.0
    assert float(row["A02"]) > 50.0


def test_versions_are_counted(record, runs):
    table = tables.versions_table(runs(record(), record(seed=1), record(versions={"torch": "2.12.0"})))
    assert table.csv() == "runs,python,torch\n2,3.11.7,2.11.0\n1,,2.12.0\n"
    made_with = {"versions": {"torch": "2"}, "revision": "abc", "device": "CPU", "platform": "Linux", "threads": 1}
    table = tables.versions_table(runs(record(**made_with), record(**made_with, seed=1)))
    assert table.csv() == "runs,torch,revision,device,platform,threads\n2,2,abc,CPU,Linux,1\n"


def test_commands_are_listed_once(record, runs):
    assert not tables.commands_table(runs(record()))
    table = tables.commands_table(runs(*(record(seed=s, command=c) for s, c in enumerate(("a", "b", "a"))), record()))
    assert table.csv() == "runs,command\n2,a\n1,b\n"
