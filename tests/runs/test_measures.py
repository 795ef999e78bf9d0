"""What metrics are: as declared, and by name in older records."""

import pytest

from dyn_lightning.metrics.info import EER_INFO, MetricInfo
from dyn_lightning.report.studies import studies_of
from dyn_lightning.report.tables import group_tables
from dyn_lightning.runs.measures import info_by_name, info_of, problem_of, title_of
from dyn_lightning.tasks import Classification, FrameDetection, SpoofDetection


def declared(task, names, stage="test"):
    found = task.new_metrics().describe(names)
    return {f"{stage}/{name}": info.as_dict() for name, info in found.items()}


def test_what_was_declared_holds_whatever_the_name(record, runs):
    about = {"test/eer_A07": {"label": "EER", "unit": "%", "lower_is_better": True, "group": "attack", "member": "A07"}}
    about["val/eer_at_budget"] = {"label": "EER at budget", "lower_is_better": True}
    metrics = {"test/eer_A07": 0.1, "test/eer_A08": 0.2, "val/eer_at_budget": 0.3}
    given = record(metrics=metrics, metric_info=about)
    assert info_of("test/eer_A07", [given]).member == "A07"
    assert info_of("test/eer_A08", [given]).group == ""  # not declared, so no attack
    assert info_of("val/eer_at_budget", [given]) == MetricInfo("EER at budget", "", True)
    (table,) = group_tables(studies_of(runs(given))[0])
    assert [column.title for column in table.columns] == ["system", "seeds", "A07"]


def test_scores_at_a_budget_are_no_attack_in_old_records_either(record, runs):
    given = record(metrics={"val/eer_at_budget": 0.3, "val/eer_snr_db_<5": 0.2})
    (table,) = group_tables(studies_of(runs(given))[0])
    assert (table.name, [column.title for column in table.columns[2:]]) == ("snr", ["<5"])
    assert info_by_name("val/eer_at_budget").unit == ""


def test_a_group_of_a_users_own_task_has_a_table(record, runs):
    metrics = {"test/wer_de": 0.2, "test/wer_fr": 0.1}
    about = {
        name: {"label": "WER", "unit": "%", "lower_is_better": True, "group": "language", "member": name[-2:]}
        for name in metrics
    }
    (table,) = group_tables(studies_of(runs(record(metrics=metrics, metric_info=about)))[0])
    assert (table.name, table.caption) == ("language-WER", "WER (%) by language, test.")
    assert table.rows[0]["de"].mean == 20.0


def test_our_tasks_declare_what_they_measure():
    vad = declared(FrameDetection(), ["eer", "threshold", "eer_snr_db_<5"])
    assert vad["test/eer_snr_db_<5"] == {**EER_INFO.as_dict(), "group": "snr_db", "member": "<5"}
    assert "lower_is_better" not in vad["test/threshold"]
    spoof = declared(SpoofDetection(), ["eer", "eer_A07", "eer_at_budget"])  # an attack may have any name
    assert spoof["test/eer_at_budget"]["member"] == "at_budget"
    assert declared(Classification(), [])["test/accuracy"]["lower_is_better"] is False


def test_titles():
    assert title_of("test/mixed/eer", EER_INFO) == "EER (%), test/mixed"
    assert title_of("relative_l1", info_by_name("relative_l1")) == "relative_l1"
    assert title_of("test/error_rate", info_by_name("test/error_rate")) == "error rate (%), test"
    assert info_by_name("test/min_tdcf").lower_is_better
    assert info_by_name("test/accuracy").lower_is_better is False
    assert info_by_name("test/threshold").lower_is_better is None


@pytest.mark.parametrize(
    "given", [1, {"eer": 1}, {"eer": {}}, {"eer": {"label": 1}}, {"eer": {"label": "x", "unit": []}}]
)
def test_declarations_of_another_kind_are_named(given):
    assert "metric_info" in problem_of(given)
    assert problem_of({"eer": {"label": "EER", "lower_is_better": True, "of a later version": 1}}) is None
