"""One folder a run, whatever the logger."""

from pathlib import Path

import lightning
import pytest
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from dyn_lightning.runs.folder import (
    discard_unused,
    folder_of,
    known_folder,
    make_numbered,
    reserve,
    run_folder,
    run_in,
)


def trainer_of(logger, root: Path) -> lightning.Trainer:
    return lightning.Trainer(
        logger=logger,
        default_root_dir=root,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )


def test_two_runs_that_begin_at_the_same_time_have_two_folders(tmp_path):
    trainers = [trainer_of(CSVLogger(tmp_path, name="csv"), tmp_path) for _ in range(2)]
    assert folder_of(trainers[0]) == folder_of(trainers[1]) == tmp_path / "csv" / "version_0"
    for trainer in trainers:
        trainer.logger._version = None
        reserve(trainer)
    assert [run_folder(t).name for t in trainers] == ["version_0", "version_1"]


def test_a_run_of_wandb_lies_where_lightning_puts_its_checkpoints(tmp_path):
    trainer = trainer_of(WandbLogger(project="p", save_dir=tmp_path, id="abc", offline=True), tmp_path)
    assert run_folder(trainer) == tmp_path / "p" / "abc"


def test_the_first_of_several_loggers_decides(tmp_path):
    csv = CSVLogger(tmp_path, name="csv")
    trainer = trainer_of([csv, WandbLogger(project="p", save_dir=tmp_path, id="abc", offline=True)], tmp_path)
    assert run_folder(trainer) == Path(csv.log_dir)


def test_runs_without_a_logger_are_numbered(tmp_path):
    first, second = (trainer_of(False, tmp_path) for _ in range(2))
    assert known_folder(first) is None
    assert run_folder(first) == run_folder(first) == known_folder(first) == tmp_path / "runs" / "version_0"
    assert run_folder(second) == tmp_path / "runs" / "version_1"
    assert make_numbered(tmp_path / "runs").name == "version_2"


def test_only_folders_without_checkpoint_and_artifact_are_discarded(tmp_path, monkeypatch):
    for name in ("empty", "kept", "shipped"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    (tmp_path / "kept" / "checkpoints").mkdir()
    (tmp_path / "kept" / "checkpoints" / "last.ckpt").touch()
    (tmp_path / "shipped" / "artifact").mkdir()
    assert run_in(tmp_path / "kept") == ["config.yaml", "checkpoints/last.ckpt"]
    assert [discard_unused(tmp_path / n) for n in ("empty", "kept", "shipped", "absent")] == [True, False, False, False]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert not discard_unused(tmp_path / "here")


@pytest.mark.parametrize("given", ["file", "folder"])
def test_what_is_there_is_named(tmp_path, given):
    from dyn_lightning.errors import UserError
    from dyn_lightning.files import check_absent

    path = tmp_path / "there"
    if given == "folder":
        path.mkdir()
        check_absent([path], "--out X")  # empty: nothing is lost
        (path / "x").touch()
    else:
        path.symlink_to(tmp_path / "nowhere")  # a link that leads nowhere is there as well
    check_absent([tmp_path / "absent"], "--out X")
    with pytest.raises(UserError, match=r"there: is there already\. Give another --out X, or --overwrite"):
        check_absent([path], "--out X")
