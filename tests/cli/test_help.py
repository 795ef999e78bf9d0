"""The help of fit: short, with the package's own first."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dyn_lightning.cli import main
from dyn_lightning.cli.help import short_help
from dyn_lightning.cli.run_end import lacking_for_predict
from dyn_lightning.tasks import FrameDetection, Regression

CONFIGS = Path(__file__).parents[2] / "configs"

TEXT = """usage: dyn-lightning [options] fit [-h] [-c CONFIG]
                                   [--lr LR]

Fits.

options:
  -h, --help            Show this help message and exit.

Their trainer:
  --trainer CONFIG      Path to a configuration file.
  --trainer.logger LOGGER
                        (type: Logger, default: null, known subclasses:
                        their.Logger, their.other.Logger)

Our model:
  --model.task TASK     the task. (required, type: Task, known subclasses:
                        dyn_lightning.tasks.A,
                        theirs.B)
"""


def test_lists_of_others_classes_are_left_out_and_the_trainer_comes_last():
    found = short_help(TEXT)
    assert found.startswith("usage: dyn-lightning fit -c FILE [-c FILE …] [--OPTION VALUE …]\n\nFits.\n")
    assert "their.Logger" not in found
    assert "theirs.B" not in found
    assert "type: Logger, default: null)" in found
    assert "of this package: dyn_lightning.tasks.A)" in found
    assert found.index("options:") < found.index("Our model:") < found.index("Their trainer:")


def test_the_help_of_fit_can_be_read(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 700
    text = "\n".join(lines)
    assert "torch.optim.Adagrad" not in text
    assert "--name" in text
    assert text.index("--model.lr ") < text.index("--trainer.max_epochs ")


def test_profile_needs_no_objective(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["dyn-lightning"])
    main(["profile", "-c", str(CONFIGS / "task" / "filter_bank.yaml"), "--receptive_field=false"])
    assert "bands" in capsys.readouterr().out


def test_what_predict_will_want_of_a_network_is_said_before_it_is_trained():
    network = torch.nn.Linear(1, 1)
    module = SimpleNamespace(task=FrameDetection(), network=network)
    assert lacking_for_predict(module).startswith("the network has no sample_rate, hop_length, first_frame_centre_s: ")
    network.sample_rate, network.hop_length, network.first_frame_centre_s = 16000, 256, 0.0
    assert lacking_for_predict(module) == ""
    assert lacking_for_predict(SimpleNamespace(task=Regression(), network=torch.nn.Linear(1, 1))) == ""
