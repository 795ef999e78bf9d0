import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from dyn_lightning.data.download import Archive, DownloadError, archives, download, fetch, main, unpack
from dyn_lightning.errors import FileError


class Server:
    """Serves ``files`` on 127.0.0.1; can drop connections and be asked what it was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.drop_after: int | None = None  # bytes of a body after which the connection is cut
        self.ranges = True
        self.etag: str | None = None
        self.requests: list[str | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                server.requests.append(wanted)
                body = server.files.get(self.path.lstrip("/"))
                if body is None:
                    self.send_error(404)
                    return
                if self.headers.get("If-Range") not in (None, server.etag):
                    wanted = None
                start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
                if start >= len(body) > 0 and start:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(body)}")
                    self.end_headers()
                    return
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body) - start))
                if server.etag:
                    self.send_header("ETag", server.etag)
                self.end_headers()
                self.wfile.write(body[start:][: server.drop_after])

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/{name}"


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


BODY = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


def test_fetch(server, tmp_path):
    server.files["a.bin"] = BODY
    target = fetch(server.url("a.bin"), tmp_path / "new/a.bin", SHA256)
    assert target.read_bytes() == BODY
    assert [path.name for path in target.parent.iterdir()] == ["a.bin"]
    fetch(server.url("a.bin"), target, SHA256)
    assert server.requests == [None]  # what is there is not fetched again


def test_an_interrupted_transfer_is_continued(server, tmp_path):
    server.files["a.bin"] = BODY
    server.drop_after = 100_000
    with pytest.raises(DownloadError, match=r"100000 of 300000 bytes came.*100000 bytes are kept in .*a\.bin\.part"):
        fetch(server.url("a.bin"), tmp_path / "a.bin", SHA256, attempts=1)
    assert not (tmp_path / "a.bin").exists()
    with pytest.raises(DownloadError, match="200000 of 300000 bytes came"):
        fetch(server.url("a.bin"), tmp_path / "a.bin", SHA256, attempts=1)
    server.drop_after = None
    assert fetch(server.url("a.bin"), tmp_path / "a.bin", SHA256).read_bytes() == BODY
    assert server.requests == [None, "bytes=100000-", "bytes=200000-"]
    assert not (tmp_path / "a.bin.part").exists()


def test_a_transfer_that_breaks_off_is_tried_again(server, tmp_path):
    """As long as something comes without end, and five times where nothing does."""
    server.files["a.bin"], server.files["nil"] = BODY, BODY
    server.drop_after, waits = 40_000, []
    assert fetch(server.url("a.bin"), tmp_path / "a.bin", SHA256, wait=waits.append).read_bytes() == BODY
    assert waits == [1.0] * 7
    server.drop_after, waits[:] = 0, []
    with pytest.raises(DownloadError, match="0 of 300000 bytes came"):
        fetch(server.url("nil"), tmp_path / "nil", SHA256, wait=waits.append)
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_a_file_that_was_changed_meanwhile_starts_over(server, tmp_path):
    server.files["a.bin"], server.etag, server.drop_after = b"old" * 100_000, '"1"', 100_000
    with pytest.raises(DownloadError, match="100000 of 300000"):
        fetch(server.url("a.bin"), tmp_path / "a.bin", attempts=1)
    server.files["a.bin"], server.etag, server.drop_after = BODY, '"2"', None
    assert fetch(server.url("a.bin"), tmp_path / "a.bin").read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_a_place_that_cannot_be_written_is_named(server, tmp_path):
    server.files["a.bin"] = BODY
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"a\.bin\.part: "):
        fetch(server.url("a.bin"), tmp_path / "file" / "a.bin", SHA256)


def test_the_command_ends_in_one_line(server, tmp_path, monkeypatch):
    table = {"gone": Archive(server.url("gone.zip"), None, ".", "Corpus")}
    monkeypatch.setattr("dyn_lightning.data.download.archives", lambda: table)
    with pytest.raises(SystemExit, match=r"gone\.zip: transfer failed \(HTTP Error 404"):
        main([str(tmp_path), "gone"])


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.files["a.bin"] = BODY
    server.ranges = False
    (tmp_path / "a.bin.part").write_bytes(BODY[:1000])
    assert fetch(server.url("a.bin"), tmp_path / "a.bin", SHA256).read_bytes() == BODY


def test_a_complete_part_needs_nothing_more(server, tmp_path):
    server.files["a.bin"] = BODY
    (tmp_path / "a.bin.part").write_bytes(BODY)
    assert fetch(server.url("a.bin"), tmp_path / "a.bin", SHA256).read_bytes() == BODY


def test_a_part_longer_than_the_file_is_dropped(server, tmp_path):
    server.files["a.bin"] = BODY
    (tmp_path / "a.bin.part").write_bytes(BODY + b"more")
    with pytest.raises(DownloadError, match="Run it again"):
        fetch(server.url("a.bin"), tmp_path / "a.bin", SHA256, attempts=1)
    (tmp_path / "a.bin.part").write_bytes(BODY + b"more")
    waits = []
    assert fetch(server.url("a.bin"), tmp_path / "a.bin", SHA256, wait=waits.append).read_bytes() == BODY
    assert waits == [1.0]


@pytest.mark.parametrize("there", [False, True])
def test_a_wrong_checksum_names_the_file_and_removes_it(server, tmp_path, there):
    server.files["a.bin"] = BODY
    if there:
        (tmp_path / "a.bin").write_bytes(b"other")
    with pytest.raises(DownloadError, match=r"a\.bin(\.part)?: checksum is .* Fetch http.* again"):
        fetch(server.url("a.bin"), tmp_path / "a.bin", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_page(server, tmp_path):
    with pytest.raises(DownloadError, match="404"):
        fetch(server.url("gone.bin"), tmp_path / "gone.bin")
    assert not list(tmp_path.iterdir())


def make_tar(entries: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def make_zip(entries: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return stream.getvalue()


MAKERS = {"a.tar.gz": make_tar, "a.zip": make_zip}


@pytest.mark.parametrize("name", MAKERS)
def test_download_unpacks_in_place(server, tmp_path, name):
    server.files[name] = MAKERS[name]({"Top/sub/x.txt": b"hello", "Top/readme": b""})
    sha256 = hashlib.sha256(server.files[name]).hexdigest()
    archive = Archive(server.url(name), sha256, "Top/sub", "Corpus/sub")
    assert download(archive, tmp_path) == tmp_path / "Corpus/sub"
    assert (tmp_path / "Corpus/sub/x.txt").read_bytes() == b"hello"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["Corpus", "sub", "x.txt"]
    download(archive, tmp_path)
    assert len(server.requests) == 1
    whole = Archive(archive.url, sha256, ".", "Whole")
    download(whole, tmp_path, keep_archive=True)
    assert (tmp_path / "Whole/Top/sub/x.txt").is_file()
    assert (tmp_path / name).is_file()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("entry", ["../evil.txt", "a/../../evil.txt", "/evil.txt"])
def test_entries_that_lead_out_are_refused(tmp_path, name, entry):
    path = tmp_path / "box" / name
    path.parent.mkdir()
    path.write_bytes(MAKERS[name]({"good/x": b"", entry: b"boo"}))
    if name == "a.tar.gz" and entry == "/evil.txt":  # tarfile strips the slash: the entry stays inside
        unpack(path, "good", tmp_path / "box/out")
    else:
        with pytest.raises(DownloadError, match=rf"{name}: cannot be unpacked"):
            unpack(path, "good", tmp_path / "box/out")
        assert sorted(child.name for child in path.parent.iterdir()) == [name]
    assert not list(tmp_path.rglob("evil.txt"))


@pytest.mark.parametrize("name", MAKERS)
def test_damaged_archives(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(MAKERS[name]({"good/x": BODY})[:100_000])
    with pytest.raises(DownloadError, match=rf"{name}: cannot be unpacked .* fetch it again"):
        unpack(path, "good", tmp_path / "out")
    assert [child.name for child in tmp_path.iterdir()] == [name]


def test_unpack_wants_its_folder_and_a_free_place(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(make_zip({"good/x": b""}))
    with pytest.raises(DownloadError, match="holds no folder 'other'"):
        unpack(path, "other", tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(DownloadError, match="exists already"):
        unpack(path, "good", tmp_path / "out")


def test_archives_lead_to_where_the_corpora_are_looked_for():
    table = archives()
    assert table["train-clean-100"].destination == "LibriSpeech/train-clean-100"
    assert table["test-other"].url.endswith("/test-other.tar.gz")
    assert table["vctk"].destination == "VCTK-Corpus-0.92"
    assert table["esc50"].destination == "ESC-50"
    assert all(len(table[name].sha256 or "") == 64 for name in table if name != "esc50")


def test_main(tmp_path, capsys):
    (tmp_path / "ESC-50").mkdir()
    main([str(tmp_path), "esc50"])
    assert capsys.readouterr().out.strip() == str(tmp_path / "ESC-50")
    with pytest.raises(SystemExit):
        main([str(tmp_path), "timit"])
