"""The files of an artifact's folder, and the folder's replacement."""

import os
from pathlib import Path

import pytest
import torch

from dyn_lightning.artifact.files import check_replaceable, load_tensors, replace_folder, save_tensors, to_json
from dyn_lightning.artifact.kinds import ArtifactError


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


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    old, new = make(tmp_path / "a", x="old"), make(tmp_path / "b", x="new")
    rename = os.rename

    def refuse(source, target):
        if Path(source) == new:
            raise OSError("no")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        with pytest.raises(OSError, match="no"):
            replace_folder(new, old)
    assert (old / "x").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    replace_folder(new, old)
    assert (old / "x").read_text() == "new"
    assert os.listdir(tmp_path) == ["a"]
    replace_folder(old, tmp_path / "c")
    assert os.listdir(tmp_path) == ["c"]
