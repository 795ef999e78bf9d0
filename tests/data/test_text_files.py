import pytest

from dyn_lightning.data.audio import DatasetError
from dyn_lightning.data.text_files import read_lines


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_any_end_and_mark(tmp_path, encoding, end):
    path = tmp_path / "a.txt"
    path.write_bytes(end.join(["é\x0b", "", "b\u2028c", ""]).encode(encoding))
    assert read_lines(path) == ["é\x0b", "", "b\u2028c"]


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        read_lines(tmp_path)
    (tmp_path / "cut.txt").write_bytes("ab\n".encode("utf-16")[:-1])
    with pytest.raises(DatasetError, match=r"cut\.txt, line \d+: is not UTF-8"):
        read_lines(tmp_path / "cut.txt")
