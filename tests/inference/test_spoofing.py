"""From audio files to a score file."""

import os

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from dyn_lightning.artifact import ArtifactError, save_artifact
from dyn_lightning.data.audio import DatasetError
from dyn_lightning.data.score_files import read_scores
from dyn_lightning.inference import score_utterances

N_SAMPLES = 800
METADATA = {"task": "SpoofDetection", "sample_rate": 16000, "n_samples": N_SAMPLES, "loss": "cross_entropy"}


class FirstAndMean(nn.Module):
    """Two logits whose difference, first sample less mean, tells where an utterance was cut."""

    def forward(self, audio: Tensor) -> Tensor:
        return torch.stack([audio.mean(-1), audio[:, 0]], dim=-1)


@pytest.fixture
def artifact(tmp_path):
    return save_artifact(FirstAndMean(), tmp_path / "artifact", metadata=METADATA)


@pytest.fixture
def audio(tmp_path):
    """Ramps of three lengths, one of them shorter than an item and one at another rate."""
    folder = tmp_path / "audio"
    (folder / "deep").mkdir(parents=True)
    ramp = np.arange(4000) / 4000
    soundfile.write(folder / "long.wav", ramp[:2000], 16000, subtype="FLOAT")
    soundfile.write(folder / "short.wav", ramp[:300] + 0.25, 16000, subtype="FLOAT")
    soundfile.write(folder / "deep" / "other.wav", np.full((4000, 2), 0.5), 32000, subtype="FLOAT")
    return folder


def protocol(tmp_path, *lines):
    path = tmp_path / "protocol.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_utterances_are_cut_as_in_validation_whatever_the_batch(tmp_path, artifact, audio, batch_size):
    result = score_utterances(artifact, [audio], tmp_path / "out", backbone=FirstAndMean(), batch_size=batch_size)
    table = read_scores(tmp_path / "out" / "scores.txt")
    assert result.exit_code == 0
    assert "3 utterances scored; 0 failed" in result.summary()
    found = dict(zip(table.utterance_ids, table.scores.tolist(), strict=True))
    middle = np.arange(600, 1400) / 4000
    repeated = np.tile(np.arange(300) / 4000 + 0.25, 3)[:N_SAMPLES]
    expected = {"long": middle[0] - middle.mean(), "short": repeated[0] - repeated.mean()}
    assert set(found) == {"long", "short", "other"}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6)
    assert found["other"] == pytest.approx(0.0, abs=0.01)
    assert table.systems == table.keys == ["-"] * 3


def test_a_protocol_says_what_utterances_are_and_which_are_scored(tmp_path, artifact, audio):
    lines = protocol(tmp_path, "s1 short - A01 spoof", "s2 long - - bonafide")
    result = score_utterances(artifact, [audio], tmp_path / "out", protocol=lines, backbone=FirstAndMean())
    assert "2 utterances scored; 0 failed; 1 left out" in result.summary()
    rows = [line.split() for line in result.path.read_text().splitlines()]
    assert [row[:3] for row in rows] == [["short", "A01", "spoof"], ["long", "-", "bonafide"]]
    lines = protocol(tmp_path, "s1 short - A01 spoof", "s2 absent - - bonafide")
    with pytest.raises(DatasetError, match=r"utterances without audio \(1\): absent"):
        score_utterances(artifact, [audio], tmp_path / "out", protocol=lines, backbone=FirstAndMean())


def test_a_broken_file_is_left_out_and_told(tmp_path, artifact, audio):
    (audio / "broken.wav").write_text("no audio")
    result = score_utterances(artifact, [audio], tmp_path / "out", backbone=FirstAndMean())
    assert result.exit_code == 1
    assert [path.name for path in result.failed] == ["broken.wav"]
    assert "3 utterances scored; 1 failed" in result.summary()
    assert str(audio / "broken.wav") in result.summary()
    assert "broken" not in result.path.read_text()


def test_names_and_scores_that_no_score_file_has(tmp_path, artifact, audio):
    """White space in a name, a name that is no text, a score that is no number: the others are written."""
    ramp = np.arange(2000) / 4000
    soundfile.write(audio / "two words.wav", ramp, 16000, subtype="FLOAT")
    soundfile.write(audio / "x.wav", ramp, 16000, subtype="FLOAT")
    (audio / "x.wav").rename(audio / os.fsdecode(b"caf\xe9.wav"))
    soundfile.write(audio / "loud.wav", np.full(2000, 3e38), 16000, subtype="FLOAT")
    result = score_utterances(artifact, [audio], tmp_path / "out", backbone=FirstAndMean())
    assert result.exit_code == 1
    assert {path.name for path in result.failed} == {"two words.wav", "loud.wav"}
    assert "its score is -inf. Check the file" in result.summary()
    assert set(read_scores(result.path).utterance_ids) == {"long", "short", "other", "caf\\xe9"}


def test_no_score_file_where_nothing_could_be_scored(tmp_path, artifact):
    folder = tmp_path / "audio"
    folder.mkdir()
    for name in ("a.flac", "b.flac"):
        (folder / name).touch()
    with pytest.raises(DatasetError, match=r"nothing is written:\n.*a\.flac: .*\n.*b\.flac: "):
        score_utterances(artifact, [folder], tmp_path / "out", backbone=FirstAndMean())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("n_dims", [1, 2])
def test_one_class_cosines_are_the_scores(tmp_path, audio, n_dims):
    class FirstSample(nn.Module):
        def forward(self, audio: Tensor) -> Tensor:
            return audio[:, :1] if n_dims == 2 else audio[:, 0]

    folder = save_artifact(FirstSample(), tmp_path / "artifact", metadata={**METADATA, "loss": "oc_softmax"})
    result = score_utterances(folder, [audio / "long.wav"], tmp_path / "out", backbone=FirstSample())
    assert result.table.scores.tolist() == [pytest.approx(0.15)]


def test_wrong_input_is_named(tmp_path, artifact, audio):
    with pytest.raises(ValueError, match="batch_size"):
        score_utterances(artifact, [audio], tmp_path / "out", batch_size=0)
    with pytest.raises(DatasetError, match="no audio file"):
        score_utterances(artifact, [], tmp_path / "out")
    with pytest.raises(DatasetError, match="both be the utterance long"):
        score_utterances(artifact, [audio, "elsewhere/long.flac"], tmp_path / "out")
    known = {name: value for name, value in METADATA.items() if name != "n_samples"}
    folder = save_artifact(FirstAndMean(), tmp_path / "other", metadata=known)
    with pytest.raises(ArtifactError, match="lacks n_samples"):
        score_utterances(folder, [audio], tmp_path / "out", backbone=FirstAndMean())
    assert not (tmp_path / "out").exists()
