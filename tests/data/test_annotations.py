"""RTTM, UEM and LAB files: what counts as speech, and what is refused."""

import pytest

from dyn_lightning.data.annotations import UNSCORED, read_lab, read_rttm, read_uem
from dyn_lightning.data.audio import DatasetError

# One record of each type of NIST's RT-09 format; three seconds of them are speech.
RTTM = """;; a comment
SPKR-INFO x 1 <NA> <NA> <NA> adult_male A <NA> <NA>

SPEAKER x 1 0.5 1.25 <NA> <NA> A <NA> <NA>
SPEAKER y 1 3 1 <NA> <NA> B <NA> <NA>
NON-SPEECH x 1 5.0 2.0 <NA> music <NA> <NA> <NA>
NON-LEX x 1 7.0 1.0 <NA> laugh A <NA> <NA>
LEXEME x 1 0.5 0.3 hello lex A <NA> <NA>
NOSCORE x 1 8.0 4.0 <NA> <NA> <NA> <NA> <NA>
NO_RT_METADATA x 1 12.0 1.0 <NA> <NA> <NA> <NA> <NA>
A/P x 1 0.1 <NA> <NA> <NA> A <NA> <NA>
speaker x 1 1.0 2.0 <NA> <NA> B <NA> <NA>
"""


def test_rttm(tmp_path):
    path = tmp_path / "a.rttm"
    for encoding, ends in (("utf-8", "\n"), ("utf-8-sig", "\r\n"), ("utf-16", "\n")):
        path.write_bytes(RTTM.replace("\n", ends).encode(encoding))
        assert read_rttm(path) == {"x": [(0.5, 1.75), (1.0, 3.0)], "y": [(3.0, 4.0)]}
        assert read_rttm(path, UNSCORED) == {"x": [(8.0, 12.0), (12.0, 13.0)]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("SPEAKER x 1", "is not 'SPEAKER <file> <channel> <start> <duration>"),
        ("SPEAKER my talk 1 0.5 1.0 <NA> <NA> A <NA> <NA>", "is not 'SPEAKER .*A name must not hold spaces"),
        ("SPEAKER x 1 zero 1.0", "the start 'zero' is no time"),
        ("SPEAKER x 1 -0.5 1.0", "the start '-0.5' is no time"),
        ("SPEAKER x 1 0.5 -1.0", "the duration '-1.0' is no time"),
        ("SPEAKER x 1 nan 1.0", "the start 'nan' is no time"),
        ("SPEAKER x 1 0.5 inf", "the duration 'inf' is no time"),
        ("SPEKER x 1 0.5 1.0", "'SPEKER' is no type of RTTM record"),
        ("x NA 0.0 30.0", "'x' is no type of RTTM record"),
    ],
)
def test_a_damaged_rttm_file_names_the_line(tmp_path, line, message):
    path = tmp_path / "bad.rttm"
    path.write_text("SPEAKER x 1 0.5 1.25\n" + line + "\n")
    with pytest.raises(DatasetError, match=rf"bad\.rttm, line 2: {message}"):
        read_rttm(path)


def test_uem(tmp_path):
    path = tmp_path / "a.uem"
    path.write_bytes(b"\xef\xbb\xbf;; parts\r\nx NA 0.000 30.5\r\ny 1 2 3\r\nx 1 40 50\r\n")
    assert read_uem(path) == {"x": [(0.0, 30.5), (40.0, 50.0)], "y": [(2.0, 3.0)]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x NA 30.0", "is not '<file> <channel> <start> <end>'"),
        ("my talk NA 0.0 30.0", "is not '<file>"),
        ("x NA 30.0 10.0", "ends at 10.0, before it begins at 30.0"),
        ("x NA -1 10.0", "the start '-1' is no time"),
        ("x NA 0 nan", "the end 'nan' is no time"),
    ],
)
def test_a_damaged_uem_file_names_the_line(tmp_path, line, message):
    path = tmp_path / "bad.uem"
    path.write_text("y NA 0 1\n" + line)
    with pytest.raises(DatasetError, match=rf"bad\.uem, line 2: {message}"):
        read_uem(path)


LABS = {
    "Audacity": "0.500000\t1.250000\tMEE 009\n\\\t100.0\t4000.0\n2.0\t3.5\t\n3.5\t4.0\tnoise\n",
    "HTK": "0 5000000 sil\n5000000 12500000 hello -12.5\n12500000 20000000 SIL\n20000000 35000000 world\n",
    "of detectors": "0 0.5 nonspeech\n0.5 1.25 speech\n2.0 3.5 1\n3.5 9 0\n",
}


@pytest.mark.parametrize("name", LABS)
def test_lab(tmp_path, name):
    path = tmp_path / "a.lab"
    path.write_text(LABS[name])
    assert read_lab(path) == [pytest.approx((0.5, 1.25)), pytest.approx((2.0, 3.5))]


def test_lab_in_whole_seconds(tmp_path):
    path = tmp_path / "a.lab"
    path.write_text("0 3 A\n10 4000 B\n")
    assert read_lab(path) == [(0.0, 3.0), (10.0, 4000.0)]


@pytest.mark.parametrize(
    ("line", "message"),
    [("1.5", "is not '<start> <end>"), ("2 1 A", "ends at 1, before"), ("nan 1 A", "the start 'nan' is no time")],
)
def test_a_damaged_lab_file_names_the_line(tmp_path, line, message):
    path = tmp_path / "bad.lab"
    path.write_text("0 1 A\n" + line)
    with pytest.raises(DatasetError, match=rf"bad\.lab, line 2: {message}"):
        read_lab(path)


@pytest.mark.parametrize("read", [read_rttm, read_uem, read_lab])
def test_another_encoding_names_the_line(tmp_path, read):
    path = tmp_path / "old.txt"
    path.write_bytes(";; a\n;; b\nSPEAKER x 1 0.5 1.25 <NA> <NA> André <NA> <NA>\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"old\.txt, line 3: is not UTF-8 text \(byte 0xE9\)"):
        read(path)
    with pytest.raises(DatasetError, match="gone: no such file"):
        read(tmp_path / "gone")
