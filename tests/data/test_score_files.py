"""Score files: what is written comes back, and everything that is wrong is told at once."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dyn_lightning.data.audio import DatasetError
from dyn_lightning.data.score_files import ScoreTable, read_protocol, read_scores, write_scores

LINES_2019 = ("s1 U1 - - bonafide", "s2 U2 - A01 spoof", "s1 U3 - A02 spoof")


def written(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=9))
def test_float32_scores_come_back_exactly(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("scores") / "deep" / "scores.txt"
    names = [f"U{i}" for i in range(len(values))]
    scores = torch.tensor(values, dtype=torch.float32)
    keys = [("bonafide", "spoof", "-")[i % 3] for i in range(len(values))]
    systems = [("-", "A17", "-")[i % 3] for i in range(len(values))]
    write_scores(path, ScoreTable(names, systems, keys, scores))
    table = read_scores(path)
    assert torch.equal(table.scores.float(), scores)
    assert (table.utterance_ids, table.systems, table.keys) == (names, systems, keys)
    assert table.targets.tolist() == [(1, 0, -1)[i % 3] for i in range(len(values))]
    assert [p.name for p in path.parent.iterdir()] == ["scores.txt"]


def test_lines_have_the_challenges_form(tmp_path):
    table = ScoreTable(["LA_E_1", "LA_E_2"], ["A11", "-"], ["spoof", "bonafide"], torch.tensor([-0.1, 1e-9]))
    write_scores(tmp_path / "s.txt", table)
    assert (tmp_path / "s.txt").read_text() == "LA_E_1 A11 spoof -0.1\nLA_E_2 - bonafide 1e-09\n"


def test_what_cannot_be_read_again_is_not_written(tmp_path):
    for name, score in (("a b", 0.0), ("", 0.0), ("a", math.nan), ("a", math.inf)):
        with pytest.raises(ValueError, match=r"Rename it|Check the audio"):
            write_scores(tmp_path / "s.txt", ScoreTable([name], ["-"], ["-"], torch.tensor([score])))
    assert not (tmp_path / "s.txt").exists()


def test_a_protocol_says_what_lone_scores_are(tmp_path):
    protocol = written(tmp_path / "p.txt", *LINES_2019)
    scores = written(tmp_path / "s.txt", "U3 0.5", "U1 - - 1.5", "", "U2 A01 spoof -2")
    table = read_scores(scores, protocol)
    assert table.utterance_ids == ["U3", "U1", "U2"]
    assert table.keys == ["spoof", "bonafide", "spoof"]
    assert table.systems == ["A02", "-", "A01"]
    assert table.speakers == ["s1", "s1", "s2"]
    assert table.scores.tolist() == [0.5, 1.5, -2.0]
    assert table.targets.tolist() == [0, 1, 0]


def test_bona_fide_has_no_system_whatever_the_file_calls_it(tmp_path):
    assert read_scores(written(tmp_path / "s.txt", "U1 bonafide bonafide 1")).systems == ["-"]


def test_all_problems_are_told_at_once(tmp_path):
    protocol = written(tmp_path / "p.txt", *LINES_2019)
    lines = ("U1 - spoof 0.1", "U1 - spoof 0.2", "U9 - - 0.3", "U2 A01 fake 1", "only", "U3 A02 spoof nan")
    scores = written(tmp_path / "s.txt", *lines, "U4 A02 spoof 1,5")
    with pytest.raises(DatasetError) as caught:
        read_scores(scores, protocol)
    text = str(caught.value)
    for part in (
        f"{scores}: lines that are not",
        "line 4, line 5",
        "lines whose score is not a finite number (2): line 6 (nan), line 7 (1,5)",
        "utterances scored more than once (1): U1",
        f"{scores}: utterances that {protocol} lacks (1): U9",
        f"{protocol}: utterances that {scores} lacks (2): U2, U3",
        f"whose key is not that of {protocol} (2): U1",
    ):
        assert part in text


def test_missing_and_empty_files_and_lone_scores_without_a_protocol_are_named(tmp_path):
    with pytest.raises(DatasetError, match=r"absent\.txt: no such file"):
        read_scores(tmp_path / "absent.txt")
    scores = written(tmp_path / "s.txt", "U1 0.5")
    with pytest.raises(DatasetError, match="give the protocol"):
        read_scores(scores)
    with pytest.raises(DatasetError, match="the protocol"):
        read_scores(scores, tmp_path / "absent.txt")
    with pytest.raises(DatasetError, match="holds no scores"):
        read_scores(written(tmp_path / "s.txt", ""))


@pytest.mark.parametrize(
    ("bonafide", "spoof", "ignored"),
    [
        ("s1 U1 - - bonafide", "s2 U2 - A07 spoof", None),
        (
            "s1 U1 alaw ita_tx bonafide bonafide notrim eval",
            "s2 U2 alaw ita_tx A07 spoof notrim eval",
            "s2 U3 alaw ita_tx A07 spoof notrim progress",
        ),
        ("s1 U1 F - - - AC1 bonafide bonafide -", "s2 U2 F - - - AC1 A07 spoof -", None),
    ],
    ids=["2019", "2021", "5"],
)
def test_protocols_are_known_by_their_columns(tmp_path, bonafide, spoof, ignored):
    lines = [line for line in (bonafide, ignored, spoof) if line]
    found = read_protocol(written(tmp_path / "p.txt", *lines))
    assert [(u.utterance_id, u.speaker, u.system, u.target) for u in found.utterances.values()] == [
        ("U1", "s1", "-", 1),
        ("U2", "s2", "A07", 0),
    ]


def test_what_a_protocol_lists_but_does_not_score_is_left_out(tmp_path):
    line = "s1 {} alaw ita_tx {} notrim {}"
    rows = ("U1", "bonafide bonafide", "eval"), ("U2", "A07 spoof", "progress"), ("U3", "A07 spoof", "eval")
    protocol = written(tmp_path / "p.txt", *(line.format(*row) for row in rows))
    assert read_protocol(protocol).unscored == {"U2"}
    table = read_scores(written(tmp_path / "s.txt", "U2 3", "U1 1", "U3 2"), protocol)
    assert table.utterance_ids == ["U1", "U3"]


def test_another_protocol_and_its_broken_lines_are_named(tmp_path):
    with pytest.raises(DatasetError, match="LA_D_1 A01', is of no protocol"):
        read_protocol(written(tmp_path / "p.txt", "LA_0069 LA_D_1 A01"))
    for line in ("LA_0069 LA_D_1 bonafide target", "LA_7-a LA_E_1-a alaw ita_tx bonafide nontarget notrim eval"):
        with pytest.raises(DatasetError, match=r"p\.txt: is a protocol of the speaker verification"):
            read_protocol(written(tmp_path / "p.txt", line))
    with pytest.raises(DatasetError, match=r"line 3 \(2\)"):
        read_protocol(written(tmp_path / "p.txt", *LINES_2019[:2], "s1 U3"))


VARIANTS = {
    "blanks": ("U1 1.5", "U2 -2e-1", "U3 0"),
    "the table of ASVspoof 5": ("filename\tcm-score", "U1\t1.5", "U2\t-0.2", "U3\t0.0"),
    "commas": ("file,score", "U1,1.5", "U2,-0.2", "U3,0"),
    "files of audio": ("flac/U1.flac 1.5", "U2.FLAC -0.2", "/data/x/U3.wav 0"),
    "a log": ("Loading", "Output, U1, 1, 1.5, ", "Output, U2, 0, -0.2", "Output, U3, 0, 0.0", "Done in 3 s"),
    "four columns and a title": ("name system key score", "U1 - bonafide 1.5", "U2 A01 spoof -0.2", "U3 A02 spoof 0"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_scores_as_other_tools_write_them(tmp_path, name):
    protocol = written(tmp_path / "p.txt", *LINES_2019)
    table = read_scores(written(tmp_path / "s.txt", *VARIANTS[name]), protocol)
    assert list(table.utterance_ids) == ["U1", "U2", "U3"]
    assert table.scores.tolist() == [1.5, -0.2, 0.0]
    assert (
        table.targets.tolist()
        == read_scores(written(tmp_path / "s.txt", *VARIANTS["blanks"]), protocol).targets.tolist()
    )


def test_a_title_stands_in_the_first_line_alone(tmp_path):
    with pytest.raises(DatasetError, match=r"not a finite number \(1\): line 2 \(score\)"):
        read_scores(written(tmp_path / "s.txt", "U1 - bonafide 1.5", "U2 A01 spoof score"))


def test_the_protocol_of_physical_access_2021(tmp_path):
    line = "PA_0022 {} R6 M1 d4 r4 m1 s4 c4 {} notrim {}"
    rows = ("U1", "bonafide", "eval"), ("U2", "spoof", "eval"), ("U3", "spoof", "progress")
    protocol = written(tmp_path / "p.txt", *(line.format(*row) for row in rows))
    table = read_scores(written(tmp_path / "s.txt", "U1 1", "U2 0", "U3 2"), protocol)
    assert (table.utterance_ids, table.keys, table.systems) == (["U1", "U2"], ["bonafide", "spoof"], ["-", "-"])


def test_another_encoding_names_the_line(tmp_path):
    path = tmp_path / "s.txt"
    path.write_bytes("U1 - bonafide 1\nÜ2 A01 spoof 0\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"s\.txt, line 2: is not UTF-8"):
        read_scores(path)
