"""What a command writes never takes the place of another run's files, and its end says where it lies."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from dyn_lightning.cli import main
from dyn_lightning.runs import read_results

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = [
    *(a for name in ("task/filter_bank", "dynamic/none", "trainer/cpu") for a in ("-c", str(CONFIGS / f"{name}.yaml"))),
    "--data.batch_size=4",
    "--data.batches_per_epoch=2",
    "--data.eval_batches=1",
    "--trainer.max_epochs=1",
    "--trainer.num_sanity_val_steps=0",
]
WANDB = ["-c", str(CONFIGS / "logger" / "wandb.yaml")]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr("sys.argv", ["dyn-lightning"])


def files(root: str = "runs") -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in Path(root).rglob("*") if p.is_file() and "wandb" not in p.parts}


def test_runs_of_wandb_keep_their_files_apart(capsys):
    main(["fit", *TINY, *WANDB, "--name", "uniform 25 %", "--results", "r.jsonl"])
    first = files()
    (artifact,) = Path("runs").rglob("artifact")
    assert artifact.parts[:2] == ("runs", "dyn_lightning")
    assert len(artifact.parts) == 4
    assert {p.name for p in artifact.parent.iterdir()} >= {"artifact", "checkpoints", "config.yaml"}
    out = capsys.readouterr().out
    assert f"artifact: {artifact}\n" in out
    assert re.search(r"best checkpoint: .*/best\.ckpt \(val/loss [\d.]+\)\nval: loss [\d.]+, l1", out)
    (record,) = read_results("r.jsonl")
    assert record["name"] == "uniform 25 %"
    assert record["config_file"] == f"{artifact.parent}/config.yaml"

    main(["fit", *TINY, *WANDB, "--model.lr=0.1"])
    now = files()
    assert {name: now[name] for name in first} == first
    assert len(list(Path("runs").rglob("artifact"))) == 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The working directory of a finished run."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["dyn-lightning"])
        main(["fit", *TINY, "--results", "r.jsonl"])
    return folder


def test_a_run_without_a_logger_has_its_folder():
    main(["fit", *TINY, "--trainer.logger=false"])
    (folder,) = Path("runs").iterdir()
    assert folder.name == "version_0"
    assert {p.name for p in folder.iterdir()} >= {"artifact", "checkpoints", "config.yaml"}
    assert [p.name for p in Path().iterdir()] == ["runs"]


def test_a_run_in_the_place_of_another_is_refused_before_it_begins(finished):
    shutil.copytree(finished / "runs", "runs")
    before = files()
    with pytest.raises(SystemExit, match=r"runs/csv/version_0: holds a run already .*--overwrite"):
        main(["fit", *TINY, "--trainer.logger.version=0"])
    assert files() == before
    main(["fit", *TINY, "--trainer.logger.version=0", "--overwrite", "--model.lr=0.1"])
    assert files().keys() == before.keys()
    saved = yaml.safe_load(Path("runs/csv/version_0/config.yaml").read_text())
    assert saved["model"]["lr"] == 0.1
    assert saved["overwrite"] is False  # its configuration does not overwrite by itself


def test_an_artifact_is_replaced_only_where_that_is_asked_for(finished):
    given = ["consolidate", "--ckpt_path", str(finished / "runs/csv/version_0/checkpoints/best.ckpt")]
    main(given)
    before = files("artifact")
    with pytest.raises(SystemExit, match=r"artifact: is there already\. Give another --dirpath"):
        main(given)
    main([*given, "--overwrite"])
    assert files("artifact").keys() == before.keys()


def test_tests_take_the_runs_best_checkpoint_or_refuse(finished, capsys):
    shutil.copytree(finished / "runs", "runs")
    (record,) = read_results(finished / "r.jsonl")
    before = files()
    capsys.readouterr()
    main(["test", "-c", "runs/csv/version_0/config.yaml"])
    out = capsys.readouterr().out
    assert out.startswith("test: runs/csv/version_0/checkpoints/best.ckpt, the run's best checkpoint\n")
    assert f"l1 {record['metrics']['test/l1']:.4g}" in out
    assert files() == before  # no version_1, no other configuration
    for command in ("test", "validate"):
        with pytest.raises(SystemExit, match=r"random weights without a checkpoint: give --ckpt_path FILE"):
            main([command, *TINY])
    os.rename("runs/csv/version_0/checkpoints/best.ckpt", "runs/csv/version_0/checkpoints/other.ckpt")
    with pytest.raises(SystemExit, match=r"There are .*/last\.ckpt, .*/other\.ckpt"):
        main(["validate", "-c", "runs/csv/version_0/config.yaml"])
    main(["validate", *TINY, "--ckpt_path", "none"])
    assert "val: loss" in capsys.readouterr().out


def test_a_fit_that_fails_before_its_first_step_leaves_no_folder():
    with pytest.raises(SystemExit, match="shorten a phase"):
        main(
            [
                "fit",
                *TINY,
                "--model.dynamic=null",
                "--model.objective=dyn_lightning.objectives.LambdaSquared",
                "--phases.warmup_epochs=9",
            ]
        )
    assert not list(Path("runs/csv").glob("*"))


def test_reports_and_scores_replace_nothing():
    Path("report.html").write_text("mine")
    Path("r.jsonl").write_text(json.dumps({"metrics": {}}) + "\n")
    with pytest.raises(SystemExit, match=r"report\.html: is there already\. Give another --out FILE"):
        main(["report", "r.jsonl"])
    Path("front.png").write_text("mine")
    with pytest.raises(SystemExit, match=r"front\.png: is there already"):
        main(["pareto", "r.jsonl"])
    Path("det.png").write_text("mine")
    with pytest.raises(SystemExit, match=r"det\.png: is there already\. Give another --out_dir FOLDER"):
        main(["score", "--scores", "s.txt", "--out_dir", "."])
    assert Path("report.html").read_text() == Path("det.png").read_text() == "mine"
