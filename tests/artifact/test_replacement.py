"""An artifact's folder is replaced as a whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from dyn_lightning.artifact.replacement import new_folder, replace_folder
from dyn_lightning.errors import FileError


def make(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


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


def write(folder: Path, text: str) -> None:
    with new_folder(folder) as temporary:
        for name in ("architecture.json", "model.safetensors"):
            (temporary / name).write_text(text)


def test_a_link_stays_one(tmp_path):
    make(tmp_path / "real", architecture_json="old", model_onnx="old")
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert {p.name: p.read_text() for p in (tmp_path / "real").iterdir()} == {
        "architecture.json": "new",
        "model.safetensors": "new",
    }
    (tmp_path / "dangling").symlink_to("later")
    write(tmp_path / "dangling", "new")
    assert sorted(os.listdir(tmp_path)) == ["dangling", "later", "link", "real"]


@pytest.mark.parametrize("name", [".", "../here"])
def test_the_working_directory_stays(tmp_path, monkeypatch, name):
    make(tmp_path / "here", architecture_json="old", model_onnx="old")
    monkeypatch.chdir(tmp_path / "here")
    write(Path(name), "new")
    assert sorted(os.listdir(".")) == ["architecture.json", "model.safetensors"]
    assert os.listdir(tmp_path) == ["here"]


def test_the_umask_decides_and_strays_go(tmp_path):
    stray = make(tmp_path / ".a.0123abcd.part", x="left by a killed run")
    os.utime(stray, (1e9, 1e9))
    before = os.umask(0o027)
    try:
        write(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o750
    assert os.listdir(tmp_path) == ["a"]


def test_a_place_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match=r"file/a: a file of this name stands in the way"):
        write(tmp_path / "file" / "a", "x")
    assert os.listdir(tmp_path) == ["file"]
