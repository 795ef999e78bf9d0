"""The files of an artifact's folder, and the folder's replacement."""

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from dyn_lightning.artifact.files import check_replaceable, load_tensors, save_tensors, to_json
from dyn_lightning.errors import ArtifactError, FileError


def make(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def test_tensors_come_back_whatever_their_memory_is(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    given = {"a": base.t(), "b": base[1], "c": torch.nn.Parameter(base)}
    save_tensors(given, tmp_path / "x.safetensors")
    found = load_tensors(tmp_path / "x.safetensors")
    assert found.keys() == given.keys()
    assert all(torch.equal(found[k], given[k]) for k in given)


def test_values_that_are_no_json_are_refused():
    assert to_json({"a": [1, "b"]}).endswith("\n")
    with pytest.raises(ArtifactError, match="must be JSON values"):
        to_json({"labels": {1, 2}})


def test_other_folders_are_left_alone(tmp_path):
    for good in (tmp_path / "absent", make(tmp_path / "empty"), make(tmp_path / "old", architecture_json="{}")):
        check_replaceable(good)
    make(tmp_path / "exported", architecture_json="{}", model_onnx="x")
    check_replaceable(tmp_path / "exported")
    with pytest.raises(ArtifactError, match=r"other files \(thesis\.tex\)"):
        check_replaceable(make(tmp_path / "thesis", thesis_tex="x", architecture_json="{}"))
    with pytest.raises(ArtifactError, match=r"other files \(README\.md\)"):
        check_replaceable(make(tmp_path / "repository", README_md="not an artifact's"))
    with pytest.raises(ArtifactError, match="is a file"):
        check_replaceable(tmp_path / "thesis" / "thesis.tex")


def test_tensors_that_cannot_be_written_or_read_are_named(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    save_tensors({"a": torch.ones(1000)}, path)
    before = path.read_bytes()

    def full(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full)
        with pytest.raises(FileError, match=r"x\.safetensors: the disk is full"):
            save_tensors({"a": torch.ones(1000)}, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
    for size in (0, 4, 8, 40, 4000):
        path.write_bytes(before[:size])
        with pytest.raises(ArtifactError, match=r"x\.safetensors: is truncated or damaged"):
            load_tensors(path)
    # A header that declares far more than there is.
    header = b'{"a":{"dtype":"F32","shape":[1073741824,1024],"data_offsets":[0,4398046511104]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ArtifactError, match=r"x\.safetensors: is truncated or damaged"):
        load_tensors(path)
