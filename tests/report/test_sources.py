"""What is read, and that each thing that is wrong is named with its file and line."""

import json

import pytest
import torch

from dyn_lightning.data.audio import DatasetError
from dyn_lightning.report.sources import Published, histories_of, read_published, read_sources

HISTORY = {"step": [10.0, 20.0], "width/conv/size": [8.0, 4.0], "complexity/flops_per_second": [2e6, 1e6]}


def test_records_know_their_place(record, write):
    found = read_sources([write(record(), record(seed=1)), write(record(seed=2), name="more.jsonl")])
    assert [(r.record["seed"], r.place.rsplit("/", 1)[-1]) for r in found.runs] == [
        (0, "results.jsonl:1"),
        (1, "results.jsonl:2"),
        (2, "more.jsonl:1"),
    ]


@pytest.mark.parametrize("line", ["[1, 2]", "config: {}"])
def test_a_line_that_is_no_object_is_named(record, write, line):
    path = write(record())
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DatasetError, match=r"results\.jsonl, line 2: is no JSON"):
        read_sources([path])


def test_places_count_lines_that_were_cut_off(record, write):
    path = write(record())
    path.write_text(path.read_text() + '{"config": {}\n' + path.read_text().replace('"seed": 0', '"seed": 1'))
    assert [run.place.rsplit(":", 1)[-1] for run in read_sources([path]).runs] == ["1", "3"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"metrics": "good"}, "metrics is no object"),
        ({"metrics": {"test/eer": "low"}}, "metrics test/eer is 'low', no number"),
        ({"metrics_last": {"test/eer": True}}, "metrics test/eer is True, no number"),
        ({"flops_per_second": None}, "flops_per_second is None, no positive number"),
        ({"flops_per_second_full": ["much"]}, "flops_per_second_full is"),
        ({"parameters": []}, r"parameters is \[\], no number"),
        ({"widths": {"conv": [3]}}, r"width conv is \[3\], not \[kept, full\]"),
        ({"seed": "one"}, "seed is 'one', no integer"),
        ({"wall_time_s": "long"}, "wall_time_s is 'long'"),
        ({"eer_interval": [0.1, None]}, "eer_interval is"),
    ],
)
def test_a_value_of_another_kind_is_named(record, write, given, problem):
    with pytest.raises(DatasetError, match=rf"results\.jsonl, line 2: {problem}"):
        read_sources([write(record(), {**record(), **given})])


def test_a_record_of_something_else_is_named(record, write):
    with pytest.raises(DatasetError, match=r"line 1: lacks config, metrics, flops_per_call\. Give what fit --results"):
        read_sources([write({"network": "resnet18", "flops": 3})])
    unmeasured = {**record(), "metrics": {"test/eer": None}}
    assert read_sources([write(unmeasured)]).runs[0].metric("test/eer") is None


def test_a_folder_is_searched(record, tmp_path):
    run = tmp_path / "runs" / "version_0"
    (run / "checkpoints").mkdir(parents=True)
    (run / "artifact").mkdir()
    (run / "metrics.csv").write_text(
        "step,val/eer,width/conv/size,complexity/flops_per_second\n10,,8,2e6\n10,0.2,,\n20,,4,1e6\n"
    )
    torch.save({"callbacks": {"ComplexityLogger": {"history": HISTORY}}}, run / "checkpoints" / "last.ckpt")
    (run / "config.yaml").write_text("seed_everything: 3\n")
    (run / "artifact" / "report.json").write_text(json.dumps({"sizes": {"conv": [4, 8]}, "layers": []}))
    (run / "artifact" / "architecture.json").write_text("{}")
    (tmp_path / "runs" / "results.jsonl").write_text(json.dumps(record()) + "\n")
    (run / "scores.txt").write_text("u1 - bonafide 2.0\nu2 A07 spoof 1.0\n")
    for settings in ("0123456789ab", "0123456789ac"):  # of two settings, where one name is not enough
        study = tmp_path / "runs" / f"full-0-{settings}"
        study.mkdir()
        (study / "eval_scores.txt").write_text("u1 - bonafide 2.0\nu2 A07 spoof 1.0\n")
    other = tmp_path / "runs" / "study-0"
    other.mkdir()
    torch.save({"callbacks": {"ComplexityLogger": {"history": HISTORY}}}, other / "last.ckpt")
    found = read_sources([tmp_path / "runs"])
    assert len(found.runs) == 1
    # the log of a run stands for its checkpoint
    assert [h.label for h in found.histories] == ["runs/study-0", "runs/version_0"]
    for history in found.histories:
        assert history.widths == {"conv": ([10.0, 20.0], [8.0, 4.0])}
        assert history.flops == {"flops_per_second": ([10.0, 20.0], [2e6, 1e6])}
    assert found.histories[1].errors == {"val/eer": ([10.0], [0.2])}
    assert list(found.reports) == ["runs/version_0"]
    assert list(found.scores) == ["runs/full-0", "runs/full-0-0123456789ac", "runs/version_0"]
    assert list(found.configs.values()) == ["seed_everything: 3\n"]


def test_what_is_missing_or_empty_is_named(tmp_path):
    with pytest.raises(DatasetError, match="nowhere: no such file or folder"):
        read_sources([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"empty: holds no results\.jsonl"):
        read_sources([tmp_path / "empty"])
    (tmp_path / "metrics.csv").write_text("step,train/loss\n1,0.5\n")
    with pytest.raises(DatasetError, match="nothing to report"):
        read_sources([tmp_path / "metrics.csv"])


def test_files_that_are_damaged_are_named(tmp_path):
    files = {
        "metrics.csv": ("step,width/a/size\n1,2\n2,x\n", r"metrics\.csv, line 3"),
        "last.ckpt": ("no checkpoint", r"last\.ckpt: is no checkpoint"),
        "report.json": ("{", r"report\.json: is no JSON"),
        "other.json": ("[1]", r"other\.json: is no report"),
        "sizes.json": ('{"sizes": {"conv": 3}}', r"sizes\.json: is no report"),
        "scores.txt": ("u1 - bonafide 1\nu2 A07 maybe 2\n", r"scores\.txt.*line 2"),
        "one_class.txt": ("u1 - bonafide 1\n", r"one_class\.txt: the scores have no spoofed"),
    }
    for name, (text, match) in files.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(DatasetError, match=match):
            read_sources([tmp_path / name])


def test_histories_of_records_are_those_of_the_first_seed_that_has_one(record, runs):
    given = runs(record(), record(seed=1, history={"step": [1.0, 2.0], "k": [64.0, 32.0], "l1": [1.0, 0.5]}))
    (history,) = histories_of(given, "ours")
    assert (history.label, history.widths, history.full) == ("ours", {"K": ([1.0, 2.0], [64.0, 32.0])}, {"K": 64.0})
    assert histories_of(runs(record()), "none") == []


def test_published_points_have_units_and_a_data_set(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text("dataset,model,stacks,gflops,eer_percent\nLA,ResNet34,-,5.64,6.26\nLA,Dyn,0 1,,2.5\n")
    first, second = read_published(path)
    assert (first.dataset, first.name, first.flops_per_second, first.error_percent) == ("LA", "ResNet34", 5.64e9, 6.26)
    assert (second.name, second.flops_per_second) == ("Dyn (stacks 0 1)", None)
    path.write_text("dataset,system,flops,eer_percent,note\nLA,a,2,3,No GRU.\n")
    assert read_published(path) == [Published("LA", "a", 2.0, 3.0, "No GRU.")]
    path.write_text("dataset,system,mflops_per_second,eer_percent\nLA,a,2,x\n")
    with pytest.raises(DatasetError, match=r"published\.csv, line 2: could not convert"):
        read_published(path)
    path.write_text("model,gflops,eer_percent\na,1,2\n")
    with pytest.raises(DatasetError, match=r"its columns are model, gflops, eer_percent\. It needs dataset"):
        read_published(path)
