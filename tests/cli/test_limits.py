"""Another limit than FLOPs, from a YAML file to the artifact."""

from pathlib import Path

import pytest
import yaml

from dyn_lightning.artifact import load_artifact
from dyn_lightning.cli import main
from tests.cli.test_training import SMALL, config


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["dyn-lightning"])


def test_a_budget_of_parameters_in_a_file(capsys):
    limit = {"class_path": "dyn_lightning.costs.limits.Parameters", "init_args": {"at_most": 10000}}
    Path("limit.yaml").write_text(yaml.safe_dump({"model": {"objective": {"init_args": {"limit": limit}}}}))
    names = ("task/filter_bank", "dynamic/budget", "trainer/cpu")
    assert main(["fit", *config(*names), "-c", "limit.yaml", *SMALL]) == 0
    run = Path("runs/csv/version_0")
    saved = yaml.safe_load((run / "config.yaml").read_text())["model"]["objective"]["init_args"]
    assert saved["limit"]["init_args"]["at_most"] == 10000
    assert saved["share"] is None
    small, _ = load_artifact(run / "artifact")
    learned = sum(p.numel() for p in small.parameters())
    assert 0.9 * 10000 < learned <= 10000
    capsys.readouterr()
    main(["consolidate", "--ckpt_path", str(run / "checkpoints" / "last.ckpt"), "--dirpath", "again"])
    assert "budget parameters=10000" in capsys.readouterr().out
    again, _ = load_artifact("again")
    assert sum(p.numel() for p in again.parameters()) == learned
