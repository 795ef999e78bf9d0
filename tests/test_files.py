"""Files are written as a whole or not at all."""

import pytest

from dyn_lightning.files import write_atomically


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    write_atomically(tmp_path / "a.txt", b"old")

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(tmp_path / "a.txt", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"old"
