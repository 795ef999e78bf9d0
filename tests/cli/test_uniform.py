"""``fit --uniform_share`` and ``--uniform_like``: one command trains the baseline of a cost."""

import json
from pathlib import Path

import pytest
import yaml

from dyn_lightning.cli import main

ROOT = Path(__file__).parents[2]
FIT = [
    "fit",
    *(a for n in ("task/filter_bank", "dynamic/none", "trainer/cpu") for a in ("-c", f"{ROOT}/configs/{n}.yaml")),
    "--data.batch_size=4",
    "--data.batches_per_epoch=2",
    "--data.eval_batches=1",
    "--trainer.max_epochs=1",
    "--trainer.enable_progress_bar=false",
]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_baselines_of_a_share_and_of_an_artifact(capsys):
    assert main([*FIT, "--uniform_share=0.75", "--results=results.jsonl"]) == 0
    saved = yaml.safe_load(Path("runs/csv/version_0/config.yaml").read_text())
    assert saved["model"]["backbone"]["init_args"]["n_bands"] == 48  # of 64, all FLOPs are learnable
    assert saved["model"]["dynamic"] == []
    assert saved["uniform_share"] is None
    record = json.loads(Path("results.jsonl").read_text())
    assert record["name"] == "uniform 75 %"
    assert "artifact: runs/csv/version_0/artifact" in capsys.readouterr().out

    # What the run saved is a plain configuration, and its artifact's cost is that of the next baseline.
    assert main(["test", "-c", "runs/csv/version_0/config.yaml"]) == 0
    budget = [a.replace("dynamic/none", "dynamic/budget") for a in FIT]  # learned otherwise
    assert main([*budget, "--uniform_like=runs/csv/version_0/artifact", "--name=like"]) == 0
    saved = yaml.safe_load(Path("runs/csv/version_1/config.yaml").read_text())
    assert saved["model"]["backbone"]["init_args"]["n_bands"] == 48
    assert saved["name"] == "like"


def test_what_cannot_be_is_one_line():
    with pytest.raises(SystemExit, match="give one of them"):
        main([*FIT, "--uniform_share=0.5", "--uniform_like=a"])
    with pytest.raises(SystemExit, match=r"a/report\.json: no such file"):
        main([*FIT, "--uniform_like=a"])
    Path("a").mkdir()
    Path("a/report.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"a/report\.json: does not say what the network costs"):
        main([*FIT, "--uniform_like=a"])
    Path("a/report.json").write_text('{"flops": 100.0, "unit": "flops_per_second"}')
    with pytest.raises(SystemExit, match=r"counts flops_per_second, and this run flops_per_call"):
        main([*FIT, "--uniform_like=a"])
