import shutil

import numpy as np
import pytest

from dyn_lightning.data.audio import DatasetError
from dyn_lightning.data.recordings import AnnotatedRecordings, frames_in_segments, read_rttm, read_uem

RATE = 16000


@pytest.fixture
def folder(data_root, tmp_path):
    return shutil.copytree(data_root / "AMI", tmp_path / "AMI")


def test_read_rttm_and_uem(tmp_path):
    rttm = tmp_path / "a.rttm"
    rttm.write_text(
        ";; a comment\n\nSPEAKER x 1 0.5 1.25 <NA> <NA> A <NA> <NA>\nSPEAKER y 1 3 1 <NA> <NA> B <NA> <NA>\n"
        "SPEAKER x 1 1.0 2.0 <NA> <NA> B <NA> <NA>\n"
    )
    assert read_rttm(rttm) == {"x": [(0.5, 1.75), (1.0, 3.0)], "y": [(3.0, 4.0)]}
    uem = tmp_path / "a.uem"
    uem.write_text("x NA 0.000 30.5\n")
    assert read_uem(uem) == {"x": [(0.0, 30.5)]}


@pytest.mark.parametrize("line", ["SPEAKER x 1", "SPEAKER x 1 zero 1.0"])
def test_malformed_rttm(tmp_path, line):
    path = tmp_path / "bad.rttm"
    path.write_text("SPEAKER x 1 0.5 1.25\n" + line + "\n")
    with pytest.raises(DatasetError, match=r"bad\.rttm, line 2: is not 'SPEAKER"):
        read_rttm(path)


def test_frames_in_segments_goes_by_frame_centres():
    # Centres are at 0.032, 0.048, 0.064, … s; overlapping segments count once.
    inside = frames_in_segments([(0.048, 0.080), (0.060, 0.079)], 6, RATE)
    np.testing.assert_array_equal(inside, [False, True, True, False, False, False])


def test_item(folder):
    item = AnnotatedRecordings(folder, RATE)[0]
    centres = 0.032 + 0.016 * np.arange(309)
    expected = np.where((centres >= 1.0) & (centres < 1.5), 1.0, 0.0)
    expected[(centres < 0.5) | (centres >= 4.0)] = -100.0
    np.testing.assert_array_equal(item["target"].numpy(), expected)
    assert item["audio"].shape == (5 * RATE,)
    assert (item["length"], item["utterance_id"]) == (5 * RATE, "mtg")
    assert np.isnan(item["meta"]["snr_db"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("test.uem", r"no \.uem file"),
        ("test.rttm", r"test\.rttm: no such file"),
        ("mtg.flac", "mtg.* is named in test"),
    ],
)
def test_missing_files(folder, name, message):
    (folder / name).unlink()
    with pytest.raises(DatasetError, match=message):
        AnnotatedRecordings(folder, RATE)
