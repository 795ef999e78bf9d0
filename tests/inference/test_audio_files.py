"""Which files are meant by files and folders."""

import pytest

from dyn_lightning.data.audio import DatasetError
from dyn_lightning.inference.audio_files import find_audio_files, name_files


@pytest.fixture
def folder(tmp_path):
    for name in ("b.wav", "deep/a.FLAC", "deep/b.wav", "notes.txt"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "in"


def test_folders_are_searched_at_any_depth_and_files_are_taken_as_given(folder):
    found = [(path.name, name.as_posix()) for path, name in find_audio_files([folder, "x/absent.bin"])]
    assert found == [("b.wav", "b"), ("a.FLAC", "deep/a"), ("b.wav", "deep/b"), ("absent.bin", "absent")]


def test_a_file_given_twice_counts_once_and_names_must_differ(folder):
    assert len(name_files([folder, folder])) == 3
    with pytest.raises(DatasetError, match="both be written as b"):
        name_files([folder, folder / "deep" / "b.wav", "b.flac"])
    with pytest.raises(DatasetError, match="no audio file"):
        name_files([])
