"""Options of the trainer that leave out callbacks of the shipped configurations: the run goes on without these."""

from pathlib import Path

import pytest

from dyn_lightning.cli import main

CONFIGS = Path(__file__).parents[2] / "configs"
FIT = [
    "fit",
    *(a for name in ("task/filter_bank", "dynamic/budget", "trainer/cpu") for a in ("-c", f"{CONFIGS}/{name}.yaml")),
]
FIT += ["--data.batch_size=8", "--data.batches_per_epoch=4", "--data.eval_batches=2", "--trainer.max_epochs=3"]
FIT += ["--phases.warmup_epochs=1", "--phases.search_epochs=1", "--trainer.log_every_n_steps=1"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["dyn-lightning"])


@pytest.mark.parametrize(
    ("left_out", "checkpoints"),
    [(["enable_progress_bar"], 2), (["enable_checkpointing"], 0), (["enable_progress_bar", "enable_checkpointing"], 0)],
)
def test_without_progress_bar_or_checkpoints_there_is_an_artifact(left_out, checkpoints, tmp_path):
    assert main([*FIT, *(f"--trainer.{name}=false" for name in left_out)]) == 0
    assert (tmp_path / "runs/csv/version_0/artifact/model.safetensors").is_file()
    assert len(list(tmp_path.rglob("*.ckpt"))) == checkpoints


def test_a_fast_development_run_leaves_nothing(tmp_path):
    assert main([*FIT, "--trainer.fast_dev_run=true"]) == 0
    assert not list(tmp_path.rglob("*.ckpt"))
    assert not list(tmp_path.rglob("artifact"))
