"""From audio files to segments: the whole-file scores, and what is written."""

import csv
import io
import os

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from dyn_lightning.artifact import ArtifactError, save_artifact
from dyn_lightning.data.audio import AudioError, read_audio
from dyn_lightning.errors import UserError
from dyn_lightning.inference import Predictor, predict_files
from dyn_lightning.inference.progress import FileProgress
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.modules.stacked_rnn import StackedRNN

METADATA = {
    "sample_rate": 16000,
    "hop_length": 160,
    "first_frame_centre_s": 0.01,
    "n_fft": 320,
    "threshold": 0.001,
}


class Energy(nn.Module):
    """Mean power of frames of 20 ms, every 10 ms: a detector whose right answer is known."""

    def __init__(self) -> None:
        super().__init__()
        self.hop_length = 160

    def forward(self, audio: Tensor) -> Tensor:
        return audio.unfold(1, 320, self.hop_length).square().mean(-1)


@pytest.fixture
def energy_artifact(tmp_path):
    return save_artifact(Energy(), tmp_path / "energy", metadata=METADATA)


def write_bursts(path, bursts, rate=16000, duration_s=4.0, channels=1):
    """A quiet file with a loud tone in each of the intervals."""
    time = np.arange(round(duration_s * rate)) / rate
    loud = np.any([(time >= a) & (time < b) for a, b in bursts], axis=0)
    tone = np.where(loud, 0.5, 0.001) * np.sin(2 * np.pi * 440 * time)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.repeat(tone[:, None], channels, axis=1), rate)
    return path


def test_bursts_are_found_at_any_rate_and_channels(tmp_path, energy_artifact):
    bursts = [(0.5, 1.5), (2.0, 2.5), (2.6, 2.65)]
    write_bursts(tmp_path / "in" / "a.wav", bursts)
    write_bursts(tmp_path / "in" / "deep" / "b c.flac", bursts, rate=44100, channels=2)
    (tmp_path / "in" / "broken.wav").write_text("no audio")
    soundfile.write(tmp_path / "in" / "tiny.wav", np.zeros(100), 16000)
    (tmp_path / "in" / "notes.txt").write_text("no audio file")
    result = predict_files(
        energy_artifact,
        [tmp_path / "in"],
        tmp_path / "out",
        backbone=Energy(),
        block_s=0.7,
        min_speech_s=0.1,
        min_silence_s=0.0,
        frame_scores="npy",
    )
    assert result.exact
    assert result.exit_code == 1
    assert [p.name for p in result.segments] == ["a.wav", "b c.flac"]
    for found in result.segments.values():
        np.testing.assert_allclose(found, bursts[:2], atol=0.02)
    assert {p.name for p in result.failed} == {"broken.wav", "tiny.wav"}
    assert "2 files done, 3.0 s of speech; 2 failed" in result.summary()
    assert str(tmp_path / "in" / "broken.wav") in result.summary()
    assert "too short (100 samples" in result.summary()
    written = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*"))
    assert written == ["a.npy", "a.rttm", "deep/b c.npy", "deep/b c.rttm", "segments.csv"]
    with (tmp_path / "out" / "segments.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = [(str(p), f"{a:.3f}", f"{b:.3f}") for p, found in result.segments.items() for a, b in found]
    assert [(r["file"], r["start_s"], r["end_s"]) for r in rows] == expected
    fields = [line.split() for line in (tmp_path / "out" / "deep" / "b c.rttm").read_text().splitlines()]
    assert [f[1] for f in fields] == ["deep/b_c"] * 2
    np.testing.assert_allclose([float(f[3]) + float(f[4]) for f in fields], [1.5, 2.5], atol=0.02)


def test_frame_scores_are_on_the_scale_of_the_threshold(tmp_path):
    save_artifact(Energy(), tmp_path / "e", metadata={**METADATA, "threshold_on": "probability", "threshold": 0.51})
    path = write_bursts(tmp_path / "a.wav", [(1.0, 2.0)])
    result = predict_files(tmp_path / "e", [path], tmp_path / "out", backbone=Energy(), frame_scores="csv")
    np.testing.assert_allclose(result.segments[path], [(1.0, 2.0)], atol=0.02)
    assert result.exit_code == 0
    table = np.loadtxt(tmp_path / "out" / "a.csv", delimiter=",", skiprows=1)
    power = Energy()(torch.from_numpy(read_audio(path, 16000))[None])[0]
    np.testing.assert_allclose(table[:, 1], power.sigmoid(), rtol=1e-4)
    np.testing.assert_allclose(table[:, 0], 0.01 + 0.01 * np.arange(len(power)), atol=1e-4)


@pytest.mark.parametrize("block_s", [0.05, 1.0, 7.3, 30.0])
def test_scores_of_a_recurrent_network_do_not_depend_on_blocks(tmp_path, block_s):
    torch.manual_seed(0)
    network = CRNNVAD(20, 12, 10, num_layers=1)
    network.gru = StackedRNN("GRU", 12, (7, 5), batch_first=True)
    network.linear = nn.Linear(5, 1)
    save_artifact(network, tmp_path / "a", metadata={"threshold": 0.0})
    noise = 0.1 * np.random.default_rng(0).standard_normal((22050 * 9 + 5, 2))
    soundfile.write(tmp_path / "a.wav", noise, 22050)
    result = predict_files(tmp_path / "a", [tmp_path / "a.wav"], tmp_path / "out", block_s=block_s, frame_scores="npy")
    assert result.exact
    with torch.inference_mode():
        whole = network.eval()(torch.from_numpy(read_audio(tmp_path / "a.wav", 16000))[None])[0]
    np.testing.assert_allclose(np.load(tmp_path / "out" / "a.npy"), whole, rtol=0, atol=1e-5)


def test_bidirectional_networks_run_in_windows(tmp_path):
    torch.manual_seed(0)
    network = CRNNVAD(20, 12, 6)
    network.gru = nn.GRU(12, 3, batch_first=True, bidirectional=True)
    path = write_bursts(tmp_path / "a.wav", [(2.0, 5.0)], duration_s=9.0)
    metadata = {k: getattr(network, k) for k in ("sample_rate", "hop_length", "first_frame_centre_s")}
    predictor = Predictor(network, {**metadata, "threshold": 0.0}, block_s=1.0, overlap_s=3.0)
    assert not predictor.exact
    with torch.inference_mode():
        whole = network(torch.from_numpy(read_audio(path, 16000))[None])[0]
    np.testing.assert_allclose(predictor.scores(path), whole, rtol=0, atol=1e-3)


class Strange(nn.Module):
    """A front end, a padded convolution and a recurrent layer of a class that no artifact may import."""

    def __init__(self) -> None:
        super().__init__()
        self.front_end = CRNNVAD(20, 12, 10).spectrogram
        self.conv, self.gru = nn.Conv1d(513, 6, 3, padding=1), nn.GRU(6, 5, batch_first=True)
        self.out = nn.Linear(5, 1)
        self.sample_rate, self.hop_length, self.n_fft, self.first_frame_centre_s = 16000, 256, 1024, 0.032

    def forward(self, audio: Tensor) -> Tensor:
        x = self.conv(self.front_end(audio).clamp_min(1e-4).log())
        return self.out(self.gru(x.transpose(1, 2))[0])[..., 0]


def test_a_network_without_its_class_gives_the_scores_of_its_class(tmp_path):
    torch.manual_seed(0)
    network = Strange().eval()
    artifact = save_artifact(network, tmp_path / "a", metadata={"threshold": 0.0}, example_input=torch.randn(1, 16000))
    path = write_bursts(tmp_path / "a.wav", [(2.0, 5.0)], rate=22050, duration_s=9.0)
    options = {"block_s": 2.0, "overlap_s": 3.0, "frame_scores": "npy"}
    result = predict_files(artifact, [path], tmp_path / "program", **options)
    # The states of its recurrent layers cannot be carried on: they are calls, no layers.
    assert not result.exact
    assert predict_files(artifact, [path], tmp_path / "class", backbone=Strange(), **options).exact
    with torch.inference_mode():
        whole = network(torch.from_numpy(read_audio(path, 16000))[None])[0]
    np.testing.assert_allclose(np.load(tmp_path / "class" / "a.npy"), whole, rtol=0, atol=1e-4)
    np.testing.assert_allclose(np.load(tmp_path / "program" / "a.npy"), whole, rtol=0, atol=1e-3)


def test_a_network_without_states_streams_exactly_without_its_class(tmp_path):
    artifact = save_artifact(Energy(), tmp_path / "a", metadata=METADATA, example_input=torch.randn(1, 16000))
    path = write_bursts(tmp_path / "a.wav", [(0.5, 1.5), (2.0, 2.5)])
    result = predict_files(artifact, [path], tmp_path / "out", block_s=0.7, frame_scores="npy")
    assert result.exact
    np.testing.assert_allclose(result.segments[path], [(0.5, 1.5), (2.0, 2.5)], atol=0.02)
    power = Energy()(torch.from_numpy(read_audio(path, 16000))[None])[0]
    np.testing.assert_allclose(np.load(tmp_path / "out" / "a.npy"), power, rtol=1e-4, atol=1e-7)


def test_settings_come_from_the_artifact_unless_given(tmp_path):
    path = write_bursts(tmp_path / "a.wav", [(0.5, 1.5), (2.0, 2.2)])
    metadata = {**METADATA, "min_speech_s": 0.5}
    assert len(Predictor(Energy(), metadata).segments(path)) == 1
    assert len(Predictor(Energy(), metadata, min_speech_s=0.0).segments(path)) == 2
    assert len(Predictor(Energy(), metadata, min_silence_s=1.0).segments(path)) == 1
    assert Predictor(Energy(), metadata, threshold=0.9).segments(path) == []


def test_wrong_options_are_named(tmp_path, energy_artifact):
    with pytest.raises(ArtifactError, match="lacks hop_length, threshold"):
        Predictor(Energy(), {"sample_rate": 16000, "first_frame_centre_s": 0.0})
    with pytest.raises(ArtifactError, match="threshold_on"):
        Predictor(Energy(), {**METADATA, "threshold_on": "decibel"})
    for option in ("min_speech_s", "min_silence_s", "hysteresis", "overlap_s", "block_s"):
        with pytest.raises(ValueError, match=option):
            Predictor(Energy(), METADATA, **{option: -1.0})
    with pytest.raises(ValueError, match="frame_scores"):
        predict_files(energy_artifact, [], tmp_path / "out", frame_scores="hdf5")
    with pytest.raises(ValueError, match="no audio"):
        predict_files(energy_artifact, [], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: holds no audio"):
        predict_files(energy_artifact, [tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(ValueError, match="both be written as a"):
        predict_files(energy_artifact, [tmp_path / "x/a.wav", tmp_path / "y/a.wav"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(AudioError, match=r"none\.wav"):
        Predictor(Energy(), METADATA).scores(tmp_path / "none.wav")


def test_short_pauses_and_segments_are_smoothed_unless_told_otherwise(tmp_path, energy_artifact):
    """Bursts of 0.1 s, a pause of 0.2 s and one of 0.5 s; by default segments of 0.25 s and pauses of 0.3 s count."""
    bursts = [(0.5, 1.0), (1.2, 1.5), (2.0, 2.1), (3.0, 3.4)]
    path = write_bursts(tmp_path / "a.wav", bursts)
    options = {"backbone": Energy()}
    smooth = predict_files(energy_artifact, [path], tmp_path / "out", **options)
    np.testing.assert_allclose(smooth.segments[path], [(0.5, 1.5), (3.0, 3.4)], atol=0.02)
    raw = predict_files(energy_artifact, [path], tmp_path / "out", min_speech_s=0, min_silence_s=0, **options)
    np.testing.assert_allclose(raw.segments[path], bursts, atol=0.02)
    own = save_artifact(Energy(), tmp_path / "own", metadata={**METADATA, "min_speech_s": 0.05, "min_silence_s": 0.1})
    np.testing.assert_allclose(
        predict_files(own, [path], tmp_path / "out", **options).segments[path], bursts, atol=0.02
    )


def test_one_bad_file_does_not_end_the_others(tmp_path, energy_artifact):
    """Names that are no text or too long for what is written, clutter, cut, empty and piped files in one folder."""
    folder = tmp_path / "in"
    good = write_bursts(folder / "good.wav", [(1.0, 2.0)])
    content = good.read_bytes()
    latin = folder / os.fsdecode(b"caf\xe9.wav")
    latin.write_bytes(content)
    (folder / f"{'n' * 251}.wav").write_bytes(content)
    (folder / "cut.wav").write_bytes(content[:-9000])
    (folder / "empty.flac").touch()
    (folder / "._good.wav").write_bytes(b"\x00\x05\x16\x07")
    stale = bytearray(content)
    stale[40:44] = (1000).to_bytes(4, "little")
    (folder / "stale.wav").write_bytes(stale)
    result = predict_files(energy_artifact, [folder], tmp_path / "out", backbone=Energy())
    assert {p.name for p in result.segments} == {"good.wav", latin.name, "stale.wav"}
    for found in result.segments.values():
        np.testing.assert_allclose(found, [(1.0, 2.0)], atol=0.02)
    assert {p.name[:5] for p in result.failed} == {"nnnnn", "cut.w", "empty"}
    assert result.exit_code == 1
    summary = result.summary()
    assert "3 files done, 3.0 s of speech; 3 failed" in summary
    assert f"12.0 s of audio; {tmp_path / 'out'} holds segments.csv" in summary
    assert "stale.wav: its header announces 1000 bytes" in summary
    assert "nothing of this name can be written" in summary
    assert "caf\\xe9.wav" in (tmp_path / "out" / "segments.csv").read_text(encoding="utf-8")
    assert (tmp_path / "out" / os.fsdecode(b"caf\xe9.rttm")).read_text().startswith("SPEAKER caf\\xe9 1 ")


def test_progress_is_told_of_each_file_and_block(tmp_path, energy_artifact):
    paths = [write_bursts(tmp_path / f"{name}.wav", [(1.0, 2.0)]) for name in "ab"]
    stream, times = io.StringIO(), iter(range(0, 10_000, 20))
    progress = FileProgress(stream, clock=lambda: next(times))
    predict_files(energy_artifact, paths, tmp_path / "out", backbone=Energy(), block_s=1.0, progress=progress)
    assert progress.line() == "2 of 2 files, 0.1 min of audio"
    lines = stream.getvalue().splitlines()
    assert len(lines) >= 4
    assert lines[0].startswith("0 of 2 files")
    assert lines[0].endswith("at a.wav")


class Failing(Energy):
    """Raises what torch raises where a layer's settings do not fit its input."""

    def __init__(self, most: float) -> None:
        super().__init__()
        self.most = most

    def forward(self, audio: Tensor) -> Tensor:
        return super().forward(audio if audio.abs().max() < self.most else audio[:, :0])


class Pooled(Energy):
    """One score in all."""

    def forward(self, audio: Tensor) -> Tensor:
        return super().forward(audio).mean(-1)


def test_a_network_that_fails_or_is_another_is_told_in_one_line(tmp_path):
    path = write_bursts(tmp_path / "a.wav", [(1.0, 2.0)])
    with pytest.raises(ArtifactError, match="the artifact's network fails on audio: maximum size for tensor"):
        Predictor(Failing(most=0.0), METADATA).scores(path)
    with pytest.raises(AudioError, match=r"a\.wav: the artifact's network fails on it: maximum size for tensor"):
        Predictor(Failing(most=0.4), METADATA).scores(path)
    with pytest.raises(UserError, match="must give one score a frame"):
        Predictor(Pooled(), METADATA)


@pytest.mark.parametrize("wrong", [{"hop_length": 1_000_000}, {"context_frames": 10**7}, {"n_fft": 10**8}])
def test_metadata_that_would_take_hours_are_refused(wrong):
    with pytest.raises(ArtifactError, match=r"reach over .* s, more than 60: correct the metadata"):
        Predictor(Energy(), {**METADATA, **wrong})
