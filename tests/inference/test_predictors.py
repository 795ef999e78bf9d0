"""A task says what `predict` makes of audio with its artifacts."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from dyn_lightning.artifact import save_artifact
from dyn_lightning.cli.predict import predict
from dyn_lightning.cli.run_end import lacking_for_predict
from dyn_lightning.errors import SettingError
from dyn_lightning.inference import predictor_named, predictor_of, register_predictor
from dyn_lightning.models.filter_bank import FilterBankNet
from dyn_lightning.tasks import Classification, Distillation, FrameDetection, SpoofDetection

MINE = """
from pathlib import Path
from dyn_lightning.data.audio import read_audio
from dyn_lightning.inference import FilePredictor

class Outcome:
    exit_code = 0
    def __init__(self, n): self.n = n
    def summary(self): return f"{self.n} files heard"

class Peaks(FilePredictor):
    "The largest sample of each file."
    options = ("digits",)
    wanted_attributes = ("sample_rate",)
    def written(self, inputs, out_dir, **options):
        return [Path(out_dir, "peaks.txt")]
    def run(self, artifact, inputs, out_dir, *, device="cpu", trusted=False, progress=None, digits=3, **options):
        Path(out_dir).mkdir(exist_ok=True)
        lines = [f"{Path(p).name} {read_audio(Path(p), 16000).max():.{digits}f}" for p in inputs]
        self.written(inputs, out_dir)[0].write_text("\\n".join(lines))
        return Outcome(len(lines))
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a predictor's class in a package of the user's own."""
    (tmp_path / "peaks_of_mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield "peaks_of_mine.Peaks"
    sys.modules.pop("peaks_of_mine", None)


def test_a_task_of_ones_own_brings_its_output_of_predict(mine, capsys):
    save_artifact(FilterBankNet(), "own", metadata={"task": "Loudness", "predictor": mine})
    soundfile.write("a.wav", np.full(100, 0.25), 16000)
    given = ["--artifact", "own", "--audio", "a.wav"]
    with pytest.raises(SettingError, match=r"own: its predictor is the class peaks_of_mine\.Peaks\. Give --trusted"):
        predict(given)
    assert "peaks_of_mine" not in sys.modules
    assert predict([*given, "--trusted", "--options", "{digits: 1}"]) == 0
    assert Path("predictions/peaks.txt").read_text() == "a.wav 0.2"
    assert "1 files heard" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"predictions/peaks\.txt"):
        predict([*given, "--trusted"])  # it is there already
    with pytest.raises(ValueError, match="artifact of Loudness has no use for threshold"):
        predict([*given, "--trusted", "--threshold", "1"])


def test_what_a_predictor_wants_of_the_network_is_said_before_training(mine):
    task = SimpleNamespace(predictor=mine)
    network = torch.nn.Linear(1, 1)
    module = SimpleNamespace(task=task, network=network)
    assert lacking_for_predict(module).startswith("the network has no sample_rate: ")
    network.sample_rate = 16000
    assert lacking_for_predict(module) == ""
    with pytest.raises(SettingError, match="none of segments, utterance_scores"):
        lacking_for_predict(SimpleNamespace(task=SimpleNamespace(predictor="pathlib.Path")))


def test_a_predictor_can_be_entered_by_name(mine, monkeypatch: pytest.MonkeyPatch):
    from dyn_lightning.inference import predictors

    monkeypatch.setattr(predictors, "_KNOWN", dict(predictors._KNOWN))
    own = predictor_named(mine)
    register_predictor("peaks", own)
    assert predictor_of({"predictor": "peaks"}) is own
    with pytest.raises(SettingError, match="a predictor segments already"):
        register_predictor("segments", own)


@pytest.mark.parametrize(
    ("task", "older"), [(FrameDetection(), "FrameDetection"), (SpoofDetection(), "SpoofDetection")], ids=lambda t: ""
)
def test_artifacts_from_before_tasks_named_their_predictor(task, older):
    assert predictor_of({"task": older}) is predictor_of({"task": older, "predictor": task.predictor})
    assert Distillation(task).predictor == task.predictor


def test_a_task_without_a_predictor_is_told_in_one_line():
    assert not Classification().predictor
    with pytest.raises(SettingError, match=r"^runs/a: the task Classification names no predictor"):
        predictor_of({"task": "Classification"}, "runs/a")
    with pytest.raises(SettingError, match=r"predictor pathlib\.Nothing cannot be imported"):
        predictor_of({"predictor": "pathlib.Nothing"}, trusted=True)
