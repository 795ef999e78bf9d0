"""The command: of a configuration and of a checkpoint, with the options of a profile."""

from pathlib import Path

import lightning
import pytest

from dyn_lightning.cli import main as dyn_lightning
from experiments.audit.__main__ import main, print_audit
from experiments.command import as_command

CONFIGS = Path(__file__).parents[3] / "configs"


def config(*names: str) -> list[str]:
    return [argument for name in names for argument in ("-c", str(CONFIGS / f"{name}.yaml"))]


def test_a_configuration_and_its_options(capsys: pytest.CaptureFixture[str], tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["audit"])
    main([*config("task/filter_bank", "dynamic/none", "trainer/cpu"), "--model.backbone.init_args.readout=false"])
    out = capsys.readouterr().out
    (row,) = (line for line in out.splitlines() if " bands " in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert float(cells[2]) == pytest.approx(2 * 257 * 64 / 1e6, abs=5e-4)  # of our count, in millions
    assert "torch " in out
    assert "misses 0 of" in out
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_alone_is_counted_at_its_sizes(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["dyn-lightning"])
    names = config("task/filter_bank", "dynamic/budget", "trainer/cpu")
    short = ["--trainer.max_epochs=3", "--phases.warmup_epochs=1", "--phases.search_epochs=1"]
    short += ["--data.init_args.batches_per_epoch=2", "--data.init_args.eval_batches=1"]
    dyn_lightning(["fit", *names, *short])
    capsys.readouterr()
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    main(["--ckpt_path", str(checkpoint)])
    (row,) = (line for line in capsys.readouterr().out.splitlines() if " bands " in line)
    assert float(row.strip("│").split("│")[2]) < 2 * 257 * 64 / 1e6


def test_what_is_wrong_is_one_line(make_module) -> None:
    with pytest.raises(SystemExit, match=r"absent\.ckpt"):
        as_command(lambda: main(["--ckpt_path", "absent.ckpt"]))
    module = make_module()
    module.example_shape = None
    assert isinstance(module, lightning.LightningModule)
    with pytest.raises(ValueError, match="shape of an example input"):
        print_audit(module, None)
