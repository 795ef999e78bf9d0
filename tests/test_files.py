"""Files are written as a whole or not at all, and what the system refuses names them."""

import errno
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from dyn_lightning.errors import FileError, UserError
from dyn_lightning.files import append_line, read_json, read_text, replace_lines, replacing, write_atomically


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def full_after(count: int):
    """An ``os.write`` of a disk with room for so many more bytes."""
    room, plain = [count], os.write

    def write(descriptor: int, content: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = plain(descriptor, content[: room[0]])
        room[0] -= written
        return written

    return write


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    write_atomically(tmp_path / "a.txt", b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(FileError, match=r"a\.txt: the disk is full\. Free"):
        write_atomically(tmp_path / "a.txt", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"old"


def test_the_umask_decides_and_a_mode_that_was_there_is_kept(tmp_path, umask):
    write_atomically(tmp_path / "new" / "a.txt", b"x")
    append_line(tmp_path / "new" / "b.jsonl", "{}")
    modes = {name: stat.S_IMODE((tmp_path / "new" / name).stat().st_mode) for name in (".", "a.txt", "b.jsonl")}
    assert modes == {".": 0o750, "a.txt": 0o640, "b.jsonl": 0o640}
    (tmp_path / "new" / "a.txt").chmod(0o600)
    write_atomically(tmp_path / "new" / "a.txt", b"y")
    assert stat.S_IMODE((tmp_path / "new" / "a.txt").stat().st_mode) == 0o600


def test_links_are_followed_and_long_names_taken(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "a.txt")
    write_atomically(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a.txt").read_bytes() == b"x"
    write_atomically(tmp_path / ("ä" * 120), b"x")
    write_atomically("/dev/null", b"x")
    assert not Path("/dev/null").is_file()


def test_what_killed_writers_left_goes_once_it_is_old(tmp_path):
    target = tmp_path / "a.txt"
    old, young, other = (tmp_path / f".a.txt.{token}.part" for token in ("0123abcd", "89abcdef", "mine"))
    for path in (old, young, other):
        path.write_bytes(b"x")
    os.utime(old, (1e9, 1e9))
    os.utime(other, (1e9, 1e9))
    write_atomically(target, b"x")
    assert {p.name for p in tmp_path.iterdir()} == {"a.txt", young.name, other.name}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("file/a.txt", "a file of this name stands in the way"),
        ("folder", r"is a folder\. Give a file"),
        ("x" * 300, "the name is too long"),
    ],
)
def test_places_that_cannot_be_written_are_named(tmp_path, path, message):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match=f"{path[:200]}.*: (?:{message})"):
        write_atomically(tmp_path / path, b"x")
    with pytest.raises(FileError, match=message), replacing(tmp_path / path):
        pytest.fail("is not reached")
    assert {p.name for p in tmp_path.iterdir()} == {"file", "folder"}


def test_a_line_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    append_line(path, "one")
    for room in (0, 1, 3):
        with monkeypatch.context() as patch:
            patch.setattr("os.write", full_after(room))
            with pytest.raises(FileError, match=r"a\.jsonl: the disk is full"):
                append_line(path, "two")
        assert path.read_text() == "one\n"
    with monkeypatch.context() as patch:  # a short count alone is no failure
        plain = os.write
        patch.setattr("os.write", lambda descriptor, content: plain(descriptor, content[:4]))
        append_line(path, "three")
    assert path.read_text() == "one\nthree\n"


def test_a_line_is_not_glued_to_a_torn_one(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a"')
    append_line(path, '{"a": 2}')
    assert path.read_text() == '{"a": 1}\n{"a"\n{"a": 2}\n'


def test_a_line_takes_the_place_of_others_or_nothing_happens(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    replace_lines(path, "one", lambda line: False)
    path.write_bytes(b"a 1\nb \xff\r\n\na 2\ntorn")
    monkeypatch.setattr("os.replace", refuse := lambda *args: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(FileError, match=r"a\.jsonl: the disk is full"):
        replace_lines(path, "a 3", lambda line: line.startswith("a "))
    assert path.read_bytes() == b"a 1\nb \xff\r\n\na 2\ntorn"
    assert refuse is os.replace
    monkeypatch.undo()
    replace_lines(path, "a 3", lambda line: line.startswith("a "))
    assert path.read_bytes() == b"b \xff\r\n\ntorn\na 3\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


def test_nothing_is_written_to_a_file_that_was_replaced_meanwhile(tmp_path):
    path, seen = tmp_path / "a.jsonl", []
    path.write_text("old\n")

    def append_meanwhile(line: str) -> bool:
        if not seen:  # waits until the other has done
            seen.append(threading.Thread(target=append_line, args=(path, "other")))
            seen[0].start()
            time.sleep(0.05)
        return line.startswith("old")

    replace_lines(path, "new", append_meanwhile)
    seen[0].join()
    assert path.read_text() == "new\nother\n"


def test_text_of_other_encodings_is_named(tmp_path):
    (tmp_path / "a.yaml").write_bytes("a: 1\nb: ä\n".encode("latin-1"))
    with pytest.raises(FileError, match=r"a\.yaml, line 2: is no UTF-8 text\. Save"):
        read_text(tmp_path / "a.yaml")
    (tmp_path / "b.json").write_bytes(b'\xef\xbb\xbf{"a": "\xc3\xa4"}')
    assert read_json(tmp_path / "b.json") == {"a": "ä"}
    with pytest.raises(FileError, match="no such file"):
        read_json(tmp_path / "c.json")
    for text in ("{", "[" * 100000, "1" * 5000):
        (tmp_path / "b.json").write_text(text)
        with pytest.raises(UserError, match=r"b\.json: is no JSON"):
            read_json(tmp_path / "b.json")
