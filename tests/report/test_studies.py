"""Studies: what is compared with what, and what systems are called."""

import pytest

from dyn_lightning.report.studies import (
    System,
    studies_of,
)
from dyn_lightning.runs.figure_style import flops_scale


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("learned 25 %", "learned"),
        ("learned 6.25 %", "learned"),
        ("fixed 32", "fixed"),
        ("paper, β 0.5", "paper"),
        ("paper, stack 2, λ ≥ 0.0625", "paper, stack 2"),
        ("share=0.25", "share"),
        ("shrink only 12.5 %", "shrink only"),
        ("full", "full"),
        ("ResNet34", "ResNet34"),
        ("25 %", "25 %"),
    ],
)
def test_family_is_the_name_without_its_setting(name, family):
    assert System(name, []).family == family


def test_seeds_of_a_system_belong_together_and_the_costly_come_first(record, runs):
    found = studies_of(
        runs(
            record("learned 25 %", 1),
            record("full", 0, flops=8e6, widths={}),
            record("learned 25 %", 0),
        )
    )
    assert len(found) == 1
    assert [(s.name, [r.record["seed"] for r in s.runs]) for s in found[0].systems] == [
        ("full", [0]),
        ("learned 25 %", [0, 1]),
    ]
    assert (found[0].full_flops, found[0].fixed_flops) == (8e6, 1e6)
    assert found[0].share(found[0].systems[1].runs[0]) == 25.0


def test_shares_are_of_the_network_that_a_run_is_of(record, runs):
    (study,) = studies_of(
        runs(
            record("full", 0, flops=8e6, widths={}),
            record("other, full", 0, flops=4e6, widths={}, flops_per_second_full=[1e6, 4e6]),
            record("other, learned", 0, flops=2e6, flops_per_second_full=[1e6, 4e6]),
        )
    )
    assert {s.name: study.share(s.runs[0]) for s in study.systems} == {
        "full": 100.0,
        "other, full": 100.0,
        "other, learned": 50.0,
    }


def test_shares_are_of_what_a_runs_own_sizes_govern(record, runs):
    given = runs(
        record("full", flops=8e6, flops_per_second_full=[1e6, 8e6]),
        record("other, learned", flops=2e6, flops_per_second_full=[1.5e6, 3.5e6]),
        record("others, one number", flops=4e6, flops_per_second_full=7e6),
        record("says nothing", flops=4.5e6),
    )
    (study,) = studies_of(given)
    assert study.has_several_networks
    assert [study.learnable_share(run) for run in given] == pytest.approx([100.0, 25.0, 50.0, 50.0])
    (alone,) = studies_of(given[:1])
    assert not alone.has_several_networks


def test_no_share_where_it_is_not_known_what_sizes_govern(record, runs):
    given = runs(record(flops_per_second_fixed=None))
    assert studies_of(given)[0].learnable_share(given[0]) is None


def test_a_setting_of_which_one_system_has_several_values_makes_studies(record, runs):
    given = [record(name, seed, config={"epochs": e}) for name in "ab" for seed in (0, 1) for e in (8, 16)]
    # of the system alone: no study of its own
    given += [record("c", config={"epochs": 8, "beta": 0.5}), record("c", 1, config={"epochs": 8, "beta": 0.5})]
    found = studies_of(runs(*given))
    assert [(s.settings, len(s.runs)) for s in found] == [({"epochs": 8}, 6), ({"epochs": 16}, 4)]


def test_other_data_is_another_study_and_the_same_record_counts_once(record, runs):
    found = studies_of(runs(record(), record(), record(dataset="Other"), record(seed=1)))
    assert [(s.dataset, len(s.runs)) for s in found] == [("Toy: 3 utterances", 2), ("Other", 1)]


def test_full_size_is_what_the_records_say(record, runs):
    narrow = {"flops_per_second_before": 2e6, "widths": {}}
    assert studies_of(runs(record(**narrow, flops_per_second_full=9e6)))[0].full_flops == 9e6
    assert studies_of(runs(record(**narrow, flops_per_second_full=[1e6, 7e6])))[0].full_flops == 7e6
    assert studies_of(runs(record(**narrow), record("full", flops=8e6)))[0].full_flops == 8e6


def test_runs_of_fit_are_called_by_their_name_or_by_what_differs(record, runs):
    def of(share, seed, **more):
        config = {"model": {"objective": {"init_args": {"share": share}}}, "data": {"train_seed": seed}}
        return record(None, seed, config=config, **more)

    (study,) = studies_of(runs(of(0.25, 0), of(0.25, 1), of(0.5, 0), of(1.0, 0, name="the whole", flops=8e6)))
    assert {s.name: len(s.runs) for s in study.systems} == {"the whole": 1, "share=0.25": 2, "share=0.5": 1}


def test_of_a_configuration_and_seed_the_latest_counts(record, runs):
    first, again, later = record(eer=0.1), record(eer=0.2, wall_time_s=1.0), record(seed=1, eer=0.3)
    (study,) = studies_of(runs(first, again, later))
    (system,) = study.systems
    assert [run.record["metrics"]["test/eer"] for run in system.runs] == [0.2, 0.3]
    assert system.over(lambda run: run.metric("test/eer")).n == 2
    assert len(studies_of(runs(first, again))[0].runs) == 1


def test_metrics_are_the_tests_eers_and_else_what_there_is(record, runs):
    def chosen(metrics, wanted=()):
        return list(studies_of(runs({**record(), "metrics": metrics}), wanted)[0].metrics)

    detailed = {"test/ami/eer": 0.2, "test/mixed/eer": 0.1, "test/mixed/eer_snr_db_<5": 0.2, "val/eer": 0.1}
    assert chosen(detailed) == ["test/mixed/eer", "test/ami/eer"]
    assert chosen(detailed, ["val/eer", "unknown"]) == ["val/eer"]
    assert chosen({"val/eer": 0.1, "val/loss": 1.0}) == ["val/eer"]
    assert chosen({"relative_l1": 0.1}) == ["relative_l1"]
    assert chosen({"test/loss": 0.1, "test/eer": None}) == ["test/loss"]


def test_how_costs_are_called():
    assert [flops_scale(f) for f in (5e10, 5.6e9, 3e5, 16e3, 12)] == [
        (1e9, "GFLOPs"),
        (1e6, "MFLOPs"),
        (1e6, "MFLOPs"),
        (1e3, "kFLOPs"),
        (1.0, "FLOPs"),
    ]
