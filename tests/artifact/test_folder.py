"""An artifact gives the network back, imports nothing foreign, and names what is wrong."""

import functools
import json
import os

import pytest
import torch
from torch import nn

from dyn_lightning.artifact import ArtifactError, Program, load_artifact, save_artifact
from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.modules.stacked_rnn import StackedRNN


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


def test_consolidated_network_comes_back(tmp_path):
    plain, small = small_vad(hop_length=128)
    assert isinstance(small.gru, StackedRNN)
    assert small.conv.out_channels < plain.conv.out_channels
    metadata = {"threshold": 0.25, "labels": ["speech"], "sample_rate": 16000}
    save_artifact(small, tmp_path / "a", report={"sizes": {"conv": (5, 12)}}, metadata=metadata)
    assert sorted(os.listdir(tmp_path)) == ["a"]
    assert sorted(os.listdir(tmp_path / "a")) == ["README.md", "architecture.json", "model.safetensors", "report.json"]
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "a").iterdir()} == {0o644}
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


def test_foreign_network_loads_from_its_calls_without_its_class(tmp_path, monkeypatch):
    torch.manual_seed(0)
    small, x = Foreign(3).eval(), torch.randn(2, 3)
    save_artifact(
        small,
        tmp_path / "a",
        metadata={},
        backbone={"class_path": "x.Foreign", "init_args": {"size": 3}},
        example_input=x,
    )
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"{name} was imported"))
    loaded, metadata = load_artifact(tmp_path / "a")
    assert type(loaded) is Program
    assert not loaded.training
    assert metadata["program"] == "yes"
    y = torch.randn(5, 3)
    torch.testing.assert_close(loaded(y), small(y), rtol=0, atol=0)
    monkeypatch.undo()
    # A class that is trusted, but not there, is no obstacle; an own class is preferred to its calls.
    assert type(load_artifact(tmp_path / "a", trusted=True)[0]) is Program
    save_artifact(small_vad()[1], tmp_path / "b", metadata={}, example_input=torch.randn(2, 9000))
    assert type(load_artifact(tmp_path / "b")[0]) is CRNNVAD


def test_weights_that_do_not_fit_the_calls_are_named(tmp_path):
    save_artifact(
        Foreign(3),
        tmp_path / "a",
        metadata={},
        backbone={"class_path": "x.F", "init_args": {"size": 3}},
        example_input=torch.randn(2, 3),
    )
    save_artifact(Foreign(4), tmp_path / "b", metadata={}, backbone={"class_path": "x.F", "init_args": {"size": 4}})
    (tmp_path / "b" / "model.safetensors").replace(tmp_path / "a" / "model.safetensors")
    with pytest.raises(
        ArtifactError, match=r"model\.safetensors: does not fit program\.json .*expected \(3,.*found \(4,"
    ):
        load_artifact(tmp_path / "a")
    (tmp_path / "a" / "program.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"program\.json"):
        load_artifact(tmp_path / "a")


class Chatty(Foreign):
    """Cannot be traced: what it does hangs on the data."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if x.sum() > 0 else x


def test_what_cannot_be_traced_is_saved_all_the_same(tmp_path):
    entry = {"class_path": "x.Chatty", "init_args": {"size": 3}}
    save_artifact(Chatty(3), tmp_path / "a", metadata={}, backbone=entry, example_input=torch.ones(2, 3))
    assert "program.json" not in os.listdir(tmp_path / "a")
    assert (
        "Chatty cannot be traced"
        in json.loads((tmp_path / "a" / "architecture.json").read_text())["metadata"]["program"]
    )
    load_artifact(tmp_path / "a", backbone=Chatty(3))
    with pytest.raises(ArtifactError, match="Pass backbone="):
        load_artifact(tmp_path / "a")


def test_exports_lie_beside_the_weights(tmp_path):
    small, x = Foreign(3).eval(), torch.randn(2, 3)
    save_artifact(
        small, tmp_path / "a", metadata={}, example_input=x, exports=["onnx", "pt2", "int8"], metrics={"eer": 0.125}
    )
    assert {"model.onnx", "model.pt2", "model.int8.safetensors"} < set(os.listdir(tmp_path / "a"))
    assert json.loads((tmp_path / "a" / "report.json").read_text())["metrics"] == {"eer": 0.125}
    again = torch.export.load(tmp_path / "a" / "model.pt2").module()
    torch.testing.assert_close(again(torch.ones(7, 3)), small(torch.ones(7, 3)))
    (tmp_path / "a" / "model.safetensors").unlink()
    int8, _ = load_artifact(tmp_path / "a", int8=True, backbone=Foreign(3))
    assert 0 < (int8(x) - small(x)).abs().max() < 0.1
    with pytest.raises(ArtifactError, match="tflite is unknown"):
        save_artifact(small, tmp_path / "a", metadata={}, exports=["tflite"])
    with pytest.raises(ArtifactError, match="without example_input"):
        save_artifact(small, tmp_path / "a", metadata={}, exports=["onnx"])


class Heads(nn.Module):
    """Sizes in attributes and in a parameter of its own, beside those of its layers."""

    def __init__(self, heads: int = 4, pad: int = 3) -> None:
        super().__init__()
        self.n_heads, self.shape = heads, (heads, 2)
        self.scale = nn.Parameter(torch.ones(heads))
        self.project = nn.Linear(3, 2 * heads)
        self.register_buffer("step", torch.arange(pad), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.project(x).reshape(len(x), *self.shape) * self.scale[:, None]
        return y.sum(1) / self.n_heads


def test_sizes_outside_of_layers_come_back(tmp_path):
    torch.manual_seed(0)
    small = Heads()
    small.n_heads, small.shape, small.project = 3, (3, 2), nn.Linear(3, 6)
    small.scale = nn.Parameter(torch.randn(3))
    entry = {"class_path": "x.Heads", "init_args": {}}
    save_artifact(small.eval(), tmp_path / "a", metadata={}, backbone=entry)
    loaded, _ = load_artifact(tmp_path / "a", backbone=Heads())
    assert (loaded.n_heads, loaded.shape) == (3, (3, 2))
    assert_same(loaded, small, torch.randn(2, 3))
    with pytest.raises(ArtifactError, match=r"n_heads.*Give the arguments"):
        load_artifact(tmp_path / "a", backbone=Heads(5))
    edit(tmp_path / "a", lambda d: d["modules"][""]["sizes"].update(n_heads=9))
    with pytest.raises(ArtifactError, match="n_heads cannot become 9: it is 4"):
        load_artifact(tmp_path / "a", backbone=Heads())


def test_constants_that_the_class_does_not_make_are_noticed(tmp_path):
    small = Heads(pad=2)
    entry = {"class_path": "x.Heads", "init_args": {}}
    with pytest.raises(ArtifactError, match="buffer step is not saved"):
        save_artifact(small, tmp_path / "a", metadata={}, backbone=entry)
    save_artifact(small, tmp_path / "a", metadata={}, backbone=entry, example_input=torch.randn(2, 3))
    assert type(load_artifact(tmp_path / "a", trusted=True)[0]) is Program


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


def assert_same(loaded, small, x):
    torch.testing.assert_close(dict(loaded.state_dict()), dict(small.state_dict()), rtol=0, atol=0)
    # Where in memory weights lie may change the order of a sum.
    torch.testing.assert_close(loaded(x), small.eval()(x), rtol=1e-5, atol=1e-6)


def edit(folder, change):
    path = folder / "architecture.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
