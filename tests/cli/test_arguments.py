"""What is checked on the command line before anything is made."""

import pytest
import torch
from jsonargparse import Namespace
from lightning.pytorch.callbacks import ModelCheckpoint, ModelSummary

from dyn_lightning.callbacks import ComplexityLogger, WidthsCheckpoint
from dyn_lightning.cli.arguments import check_callbacks, check_checkpoint, has_config, model_of, name_wandb_run, option
from dyn_lightning.errors import SettingError, UserError


def test_options():
    args = ["fit", "--config=a.yaml", "--ckpt_path", "b.ckpt", "--model.lr=0.1", "--last"]
    assert has_config(args)
    assert has_config(["-c", "a.yaml"])
    assert not has_config(["fit"])
    assert option(args, "--ckpt_path") == "b.ckpt"
    assert option(args, "--model.lr") == "0.1"
    assert option(args, "--last") is option(args, "--absent") is None


def test_a_checkpoint_is_a_file_or_a_name_of_lightning(tmp_path):
    (tmp_path / "there.ckpt").touch()
    for given in (None, "last", "best", "registry:model:version:3", "s3://bucket/x.ckpt", str(tmp_path / "there.ckpt")):
        check_checkpoint(given)
    with pytest.raises(UserError, match=r"absent\.ckpt: no such file\. Give"):
        check_checkpoint(str(tmp_path / "absent.ckpt"))


def test_the_model_of_a_checkpoint(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save({"hyper_parameters": {"_instantiator": "i", "backbone": {"class_path": "b"}, "lr": 0.1}}, path)
    assert model_of(str(path)) == {"backbone": {"class_path": "b"}, "lr": 0.1}
    torch.save({"state_dict": {}}, path)
    with pytest.raises(UserError, match=r"a\.ckpt: does not say how its model is made: add its configuration"):
        model_of(str(path))
    for content in (b"", b"no checkpoint"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.ckpt: is no checkpoint, or a damaged one"):
            model_of(str(path))


def test_two_callbacks_of_one_place_in_a_checkpoint():
    check_callbacks([ModelCheckpoint(monitor="a"), ModelCheckpoint(monitor="b"), ModelSummary(), ModelSummary()])
    with pytest.raises(SettingError, match=r"there twice: ComplexityLogger, WidthsCheckpoint\. Give one"):
        check_callbacks([*(ComplexityLogger() for _ in "ab"), *(WidthsCheckpoint() for _ in "ab")])


def test_the_runs_name_is_that_of_wandbs_run_where_it_has_none():
    def config(name: str | None, *loggers: dict) -> Namespace:
        made = [Namespace(class_path=c["class_path"], init_args=Namespace(c["init_args"])) for c in loggers]
        return Namespace(name=name, trainer=Namespace(logger=made if len(made) > 1 else made[0]))

    wandb, csv = "lightning.pytorch.loggers.WandbLogger", "lightning.pytorch.loggers.CSVLogger"
    found = config("uniform 25 %", {"class_path": wandb, "init_args": {"name": None}})
    name_wandb_run(found)
    assert found.trainer.logger.init_args.name == "uniform 25 %"
    several = [{"class_path": csv, "init_args": {"name": "csv"}}, {"class_path": wandb, "init_args": {"name": "own"}}]
    found = config("uniform 25 %", *several)
    name_wandb_run(found)
    assert [logger.init_args.name for logger in found.trainer.logger] == ["csv", "own"]
    for nothing in (Namespace(name="x", trainer=Namespace(logger=None)), Namespace(name="x", trainer=None)):
        name_wandb_run(nothing)
