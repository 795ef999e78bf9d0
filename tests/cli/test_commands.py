"""Commands without a training configuration."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from dyn_lightning.artifact import save_artifact
from dyn_lightning.cli.predict import predict
from dyn_lightning.cli.score import score
from dyn_lightning.data.audio import DatasetError
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.models.filter_bank import FilterBankNet

LINES = ("s1 U1 - - bonafide", "s2 U2 - A01 spoof", "s1 U3 - A02 spoof", "s2 U4 - - bonafide")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(name: str, *lines: str) -> str:
    Path(name).write_text("".join(f"{line}\n" for line in lines))
    return name


def test_an_artifact_of_voice_activity_gives_segments(capsys):
    torch.manual_seed(0)
    save_artifact(CRNNVAD(20, 12, 10), "vad", metadata={"task": "FrameDetection", "threshold": 0.0})
    soundfile.write("a.wav", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    assert predict(["--artifact", "vad", "--audio", "a.wav", "--min_speech_s", "0.1"]) == 0
    assert sorted(p.name for p in Path("predictions").iterdir()) == ["a.rttm", "segments.csv"]
    assert "1 file done" in capsys.readouterr().out
    with pytest.raises(ValueError, match="artifact of FrameDetection has no use for batch_size"):
        predict(["--artifact", "vad", "--audio", "a.wav", "--batch_size", "3"])


class Loudness(nn.Module):
    """Of a class that no artifact may import: power of frames of 20 ms, every 10 ms."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return self.gain * audio.unfold(1, 320, 160).square().mean(-1)


class Difference(nn.Module):
    """The same for anti-spoofing: logits of spoofed and bona fide."""

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return torch.stack([audio[:, ::2].sum(1), audio[:, 1::2].sum(1)], dim=1)


def forbid_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = SimpleNamespace(import_module=lambda name: pytest.fail(f"{name} was imported"))
    monkeypatch.setattr("dyn_lightning.artifact.architecture.importlib", stub)


def test_an_artifact_needs_no_class_to_give_segments(capsys, monkeypatch):
    times = {"sample_rate": 16000, "hop_length": 160, "n_fft": 320, "first_frame_centre_s": 0.01}
    metadata = {"task": "FrameDetection", "threshold": 0.01, **times}
    save_artifact(Loudness(), "own", metadata=metadata, example_input=torch.randn(1, 16000))
    forbid_imports(monkeypatch)
    noise = np.random.default_rng(0).normal(0, 0.3, 32000) * np.repeat([0, 1, 0, 0], 8000)
    soundfile.write("a.wav", noise, 16000)
    assert predict(["--artifact", "own", "--audio", "a.wav"]) == 0
    assert "1 file done, 0.5 s of speech; 0 failed" in capsys.readouterr().out
    (line,) = Path("predictions/a.rttm").read_text().splitlines()
    assert [float(x) for x in line.split()[3:5]] == pytest.approx([0.5, 0.5], abs=0.02)


def test_an_artifact_needs_no_class_to_give_scores_of_utterances(capsys, monkeypatch):
    metadata = {"task": "SpoofDetection", "loss": "cross_entropy", "sample_rate": 16000, "n_samples": 64}
    save_artifact(Difference(), "own", metadata=metadata, example_input=torch.randn(2, 64))
    forbid_imports(monkeypatch)
    samples = np.random.default_rng(0).normal(0, 0.1, 64).astype(np.float32)
    soundfile.write("U1.wav", samples, 16000, subtype="FLOAT")
    assert predict(["--artifact", "own", "--audio", "U1.wav"]) == 0
    (row,) = Path("predictions/scores.txt").read_text().splitlines()
    assert float(row.split()[-1]) == pytest.approx(float(samples[1::2].sum() - samples[::2].sum()), abs=1e-5)
    assert "1 utterance scored" in capsys.readouterr().out


def test_an_artifact_of_anti_spoofing_gives_scores(capsys):
    network = nn.Sequential(nn.Linear(64, 2))
    metadata = {"task": "SpoofDetection", "loss": "cross_entropy", "sample_rate": 16000, "n_samples": 64}
    save_artifact(network, "cm", metadata=metadata, example_input=torch.randn(2, 64))
    samples = np.random.default_rng(0).normal(0, 0.1, 64).astype(np.float32)
    soundfile.write("U1.wav", samples, 16000, subtype="FLOAT")
    Path("deep").mkdir()
    soundfile.write("deep/U2.wav", samples, 16000, subtype="FLOAT")
    given = ["--artifact", "cm", "--audio", "U1.wav", "deep"]
    assert predict([*given, "--protocol", written("p.txt", *LINES[:2]), "--batch_size", "1"]) == 0
    logits = network(torch.from_numpy(samples)).detach()
    rows = [line.split() for line in Path("predictions/scores.txt").read_text().splitlines()]
    assert [row[:3] for row in rows] == [["U1", "-", "bonafide"], ["U2", "A01", "spoof"]]
    assert [float(row[3]) for row in rows] == [pytest.approx(float(logits[1] - logits[0]), abs=1e-6)] * 2
    assert "2 utterances scored" in capsys.readouterr().out
    with pytest.raises(ValueError, match="SpoofDetection has no use for frame_scores, threshold"):
        predict([*given, "--frame_scores", "npy", "--threshold", "0"])


def test_an_artifact_without_a_task_says_what_it_lacks():
    save_artifact(FilterBankNet(), "bank", metadata={})
    soundfile.write("a.wav", np.zeros(100), 16000)
    with pytest.raises(ValueError, match="lacks sample_rate"):
        predict(["--artifact", "bank", "--audio", "a.wav"])


def test_scores_of_anybody_are_judged(capsys):
    # A threshold of 1.2 rejects both attacks, one bona fide utterance is below.
    scores = written("s.txt", "U1 1.5", "U2 1.0", "U3 -1", "U4 0.5")
    asv = written("asv.txt", "bonafide target 2", "bonafide nontarget 0", "A01 spoof -3", "A02 spoof -1")
    given = ["--scores", scores, "--protocol", written("p.txt", *LINES), "--n_resamples", "20"]
    assert score([*given, "--by_speaker", "--out_dir", "out"]) == 0
    found = json.loads(Path("out/scores.json").read_text())
    assert found["eer"] == 0.5
    assert {system: values["eer"] for system, values in found["systems"].items()} == {"A01": 0.75, "A02": 0.0}
    assert found["bootstrap"]["resampled"] == "speakers"
    assert Path("out/det.png").is_file()
    assert "min t-DCF" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="not defined"):  # the ASV rejects all spoofs by itself
        score([*given, "--asv_scores", asv, "--out_dir", "with_asv"])
    lines = ["bonafide target 2"] * 9 + [f"bonafide nontarget {-i}" for i in range(50)]
    written("asv.txt", *lines, "A01 spoof 3", "A02 spoof -1")
    assert score([*given, "--asv_scores", asv, "--seed", "3"]) == 0
    assert "min t-DCF" in capsys.readouterr().out


def test_scores_and_protocol_must_name_the_same_utterances():
    scores = written("s.txt", "U1 1.5", "U2 1.0", "U9 3")
    with pytest.raises(DatasetError, match=r"p\.txt lacks \(1\): U9(.|\n)*s\.txt lacks \(2\): U3, U4"):
        score(["--scores", scores, "--protocol", written("p.txt", *LINES)])
    with pytest.raises(DatasetError, match="no spoofed utterance"):
        score(["--scores", written("s.txt", "U1 - bonafide 1")])
