"""An artifact gives the network back, imports nothing foreign, and names what is wrong."""

import functools
import json
import os

import pytest
import torch
from torch import nn

from dyn_lightning.artifact import ArtifactError, build_layer, describe_layer, load_artifact, save_artifact
from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.features.spectral import MelFilterBank
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.models.stacked_rnn import StackedRNN

LAYERS = [
    nn.Linear(3, 4, bias=False),
    nn.Conv1d(4, 6, 3, stride=2, padding="valid", dilation=2, groups=2),
    nn.Conv2d(2, 3, (3, 1), padding=(1, 0), padding_mode="reflect", bias=False),
    nn.ConvTranspose1d(2, 3, 4, stride=2, output_padding=1),
    nn.ConvTranspose2d(2, 3, 4, bias=False),
    nn.BatchNorm1d(3, momentum=None),
    nn.BatchNorm2d(3, affine=False),
    nn.LayerNorm((3, 4), bias=False),
    nn.LayerNorm(5, eps=1e-3, elementwise_affine=False),
    nn.GroupNorm(2, 4),
    nn.PReLU(3),
    nn.GRU(3, 4, 2, batch_first=True, bidirectional=True),
    nn.LSTM(3, 4, bias=False, proj_size=2),
    StackedRNN("LSTM", 3, (4, 2), batch_first=True, bias=False),
    MelFilterBank(257, 20, 8000, 100.0),
]


class Foreign(nn.Module):
    """A network of another package than this one, with a shared layer."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.n_features = size
        self.first = nn.Sequential(nn.Linear(size, size), nn.ReLU())
        self.second = self.first[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


@functools.cache
def small_vad(**arguments: int) -> tuple[CRNNVAD, nn.Module]:
    """A consolidated CRNNVAD with other sizes than the one it was made from."""
    torch.manual_seed(0)
    plain = CRNNVAD(**{"n_mels": 20, "channels": 12, "hidden_size": 10, **arguments}).eval()
    dynamic = dynamize(plain, torch.randn(1, 16000), duration_s=1.0)
    for i, width in enumerate(dynamic.widths.values()):
        width.set_lam(0.4 + 0.1 * i)
    return plain, consolidate(dynamic.eval())[0]


@pytest.fixture
def folder(tmp_path):
    save_artifact(small_vad()[1], tmp_path / "vad", report={"flops": 1.0}, metadata={"threshold": 0.5})
    return tmp_path / "vad"


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_layer_is_rebuilt_from_json(layer):
    again = build_layer(json.loads(json.dumps(describe_layer(layer))))
    assert type(again) is type(layer)
    assert repr(again) == repr(layer)
    again.load_state_dict(layer.state_dict())
    assert describe_layer(again) == describe_layer(layer)


def test_other_layers_are_not_described():
    with pytest.raises(ArtifactError, match="Bilinear"):
        describe_layer(nn.Bilinear(2, 2, 2))
    with pytest.raises(ArtifactError, match=r"unknown layer kind 'os\.system'"):
        build_layer({"kind": "os.system", "options": {"command": "true"}})
    with pytest.raises(ArtifactError, match="Linear of the options"):
        build_layer({"kind": "Linear", "options": {"in_features": 2}})


def test_consolidated_network_comes_back(tmp_path):
    plain, small = small_vad(hop_length=128)
    assert isinstance(small.gru, StackedRNN)
    assert small.conv.out_channels < plain.conv.out_channels
    metadata = {"threshold": 0.25, "labels": ["speech"], "sample_rate": 16000}
    save_artifact(small, tmp_path / "a", report={"sizes": {"conv": (5, 12)}}, metadata=metadata)
    assert sorted(os.listdir(tmp_path)) == ["a"]
    assert sorted(os.listdir(tmp_path / "a")) == ["architecture.json", "model.safetensors", "report.json"]
    loaded, found = load_artifact(tmp_path / "a")
    audio = torch.randn(2, 9000)
    assert not loaded.training
    assert type(loaded) is CRNNVAD
    assert_same(loaded, small, audio)
    assert metadata.items() <= found.items()
    assert (found["hop_length"], found["n_fft"]) == (128, 1024)
    assert found["first_frame_centre_s"] == small.first_frame_centre_s
    assert found["versions"]["torch"] == torch.__version__


def test_arguments_kept_nowhere_have_to_be_given(tmp_path):
    _, small = small_vad(hangover_frames=3)  # no attribute of this name
    save_artifact(small, tmp_path / "a", metadata={})
    with pytest.raises(ArtifactError, match="Pass backbone="):
        load_artifact(tmp_path / "a")
    with pytest.raises(ArtifactError, match=r"hangover is .*MaxPool1d.*kernel_size=1"):
        load_artifact(tmp_path / "a", backbone=CRNNVAD())
    entry = {"class_path": "dyn_lightning.models.crnn_vad.CRNNVAD", "init_args": {"hangover_frames": 3}}
    save_artifact(small, tmp_path / "a", metadata={}, backbone=entry)
    loaded, _ = load_artifact(tmp_path / "a")
    audio = torch.randn(1, 9000)
    assert_same(loaded, small, audio)
    with pytest.raises(ArtifactError, match="give the arguments"):
        save_artifact(small, tmp_path / "a", metadata={}, backbone={**entry, "init_args": {}})


def test_foreign_class_is_not_imported_unless_trusted(tmp_path, monkeypatch):
    small = Foreign(3)
    entry = {"class_path": "x.Foreign", "init_args": {"size": 3}}
    save_artifact(small, tmp_path / "a", metadata={}, backbone=entry)
    imported = []
    monkeypatch.setattr("importlib.import_module", lambda name: imported.append(name) or __import__(name))
    with pytest.raises(ArtifactError, match=r"x\.Foreign.*trusted=True"):
        load_artifact(tmp_path / "a")
    assert not imported
    with pytest.raises(ArtifactError, match="cannot be made"):
        load_artifact(tmp_path / "a", trusted=True)
    assert imported == ["x"]
    loaded, _ = load_artifact(tmp_path / "a", backbone=Foreign(3))
    assert loaded.second is loaded.first[0]
    x = torch.randn(2, 3)
    assert_same(loaded, small, x)
    with pytest.raises(ArtifactError, match="n_features"):
        load_artifact(tmp_path / "a", backbone=Foreign(4))


def test_own_class_that_is_no_network_is_refused(folder):
    edit(folder, lambda d: d["backbone"].update(class_path="dyn_lightning.artifact.build_layer"))
    with pytest.raises(ArtifactError, match=r"it is no nn\.Module"):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), r"model\.safetensors: no such file"),
        (lambda f: (f / "architecture.json").unlink(), r"architecture\.json: no such file"),
        (lambda f: os.truncate(f / "model.safetensors", 5000), r"model\.safetensors: is truncated"),
        (lambda f: os.truncate(f / "architecture.json", 300), r"architecture\.json: is no JSON"),
        (lambda f: edit(f, lambda d: d.update(format_version=99)), "format version 99, this package reads 1"),
        (lambda f: edit(f, lambda d: d.pop("metadata")), "lacks metadata"),
        (
            lambda f: edit(f, lambda d: d["modules"]["conv"].update(kind="Conv9d")),
            "unknown layer kind 'Conv9d",
        ),
        (lambda f: edit(f, lambda d: d["modules"].pop("gru")), "other modules than the artifact: gru"),
        (
            lambda f: edit(f, lambda d: d["modules"]["linear"]["options"].update(in_features=99)),
            r"model\.safetensors: does not fit .*linear\.weight: expected \(1, 99\)",
        ),
    ],
)
def test_damage_is_named(folder, damage, message):
    damage(folder)
    with pytest.raises(ArtifactError, match=message):
        load_artifact(folder)


def test_existing_artifact_is_replaced_only_by_a_complete_one(folder, monkeypatch):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    _, other = small_vad(hidden_size=20)
    with pytest.raises(ArtifactError, match="JSON"):
        save_artifact(other, folder, metadata={"labels": {1, 2}})

    def full(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full)
        with pytest.raises(OSError, match="no space"):
            save_artifact(other, folder, metadata={})
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    save_artifact(other, folder, metadata={})
    assert load_artifact(folder)[0].gru.hidden_sizes == other.gru.hidden_sizes
    assert os.listdir(folder.parent) == ["vad"]


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ArtifactError, match=r"other files \(thesis\.tex\)"):
        save_artifact(small_vad()[1], tmp_path, metadata={})
    assert (tmp_path / "thesis.tex").exists()


def assert_same(loaded, small, x):
    torch.testing.assert_close(dict(loaded.state_dict()), dict(small.state_dict()), rtol=0, atol=0)
    # Where in memory weights lie may change the order of a sum.
    torch.testing.assert_close(loaded(x), small.eval()(x), rtol=1e-5, atol=1e-6)


def edit(folder, change):
    path = folder / "architecture.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
