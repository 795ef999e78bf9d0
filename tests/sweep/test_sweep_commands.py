"""The commands sweep and pareto, from their arguments to what they leave behind."""

import json
import re
import shlex
from pathlib import Path

import pytest

from dyn_lightning.cli import main
from dyn_lightning.cli.pareto import pareto
from dyn_lightning.cli.sweep import sweep
from dyn_lightning.runs import append_result

ROOT = Path(__file__).parents[2]


def test_a_sweep_and_its_front(make_sweep, capsys):
    path = make_sweep(parameters={"a": {"values": [1, 2, 4]}, "act": {"values": ["work", "fail"]}})
    assert main(["sweep", str(path), "--jobs", "2"]) == 1  # half of them fail
    assert Path("runs/sweeps/small/journal.jsonl").is_file()
    assert "3 finished, 3 failed" in capsys.readouterr().out
    assert main(["pareto", "runs/sweeps/small", "--out", "found/front.json"]) == 0
    out = capsys.readouterr().out
    assert "3 of 3 are on the front" in out
    assert out.endswith("found/front.json\nfound/front.png\n")
    content = json.loads(Path("found/front.json").read_text())
    assert [entry["val/eer"] for entry in content["front"]] == pytest.approx([0.04, 0.02, 0.01])


def test_options_of_a_sweep(make_sweep, capsys):
    path = make_sweep(
        method="random", parameters={"a": {"min": 1.0, "max": 2.0}}, early_terminate={"type": "hyperband"}
    )
    given = [str(path), "--runs", "here", "--max_runs", "3"]
    assert sweep(given) == sweep([*given, "--seed", "1"]) == sweep(given) == 0
    assert len([p for p in Path("here").iterdir() if p.is_dir()]) == 6
    out = capsys.readouterr().out
    assert "0 runs to do, 3 finished" in out
    assert "early_terminate is for W&B's server" in out


def test_what_cannot_run_ends_in_one_line(make_sweep):
    bayes = make_sweep(method="bayes", parameters={"a": {"min": 1.0, "max": 2.0}})
    with pytest.raises(SystemExit, match=r"small\.yaml: method: bayes needs W&B's server"):
        main(["sweep", str(bayes)])
    with pytest.raises(SystemExit, match=r"absent\.yaml: no such file"):
        main(["sweep", "absent.yaml"])
    with pytest.raises(SystemExit, match="--jobs 0 must be 1 or more"):
        main(["sweep", str(bayes), "--jobs", "0"])
    with pytest.raises(SystemExit, match=r"absent\.jsonl: cannot be read"):
        main(["pareto", "absent.jsonl"])
    Path("empty").mkdir()
    with pytest.raises(SystemExit, match=r"empty: is no folder of dyn-lightning sweep\. Give one, or"):
        main(["pareto", "empty"])
    unlisted = make_sweep(parameters={"a": {"min": 1.0, "max": 2.0}})
    with pytest.raises(SystemExit, match=r"small\.yaml: parameter a: a grid has no place for uniform"):
        main(["sweep", str(unlisted)])
    unlisted.write_text("method: [")
    with pytest.raises(SystemExit, match=r"small\.yaml: is no YAML"):
        main(["sweep", str(unlisted)])


def test_means_data_sets_and_single_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for dataset, seed, eer in (("one", 0, 0.1), ("one", 1, 0.3), ("two", 0, 0.5), ("two", 1, None)):
        append_result(
            "r.jsonl",
            {
                "metrics": {"val/eer": eer},
                "flops_per_second": 1e6,
                "config": {},
                "config_hash": "c",
                "seed": seed,
                "dataset": dataset,
            },
        )
    with pytest.raises(SystemExit, match="--dataset TEXT"):
        main(["pareto", "r.jsonl"])
    capsys.readouterr()

    def errors(*options: str) -> list[float]:
        assert pareto(["r.jsonl", "--overwrite", *options]) == 0
        content = json.loads(Path("front.json").read_text())
        return [entry["val/eer"] for entry in content["front"] + content["dominated"]]

    assert errors("--dataset", "one") == pytest.approx([0.2])
    assert errors("--dataset", "one", "--per_run") == pytest.approx([0.1, 0.3])
    assert errors("--dataset", "two") == pytest.approx([0.5])
    assert "1 finished runs have no val/eer or no FLOPs" in capsys.readouterr().out


def test_the_documentation_names_options_and_files_that_exist(capsys):
    text = (ROOT / "docs/sweeps.md").read_text()
    lines = [
        shlex.split(line.rstrip("&")) for line in re.findall(r"^.*?(dyn-lightning .*)$", text, re.M) if "`" not in line
    ]
    assert len(lines) >= 6
    for _, command, *words in lines:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        usage = capsys.readouterr().out
        assert all(word in usage for word in words if word.startswith("--")), words
        assert all((ROOT / word).is_file() for word in words if word.endswith(".yaml")), words
