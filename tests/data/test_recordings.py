import shutil

import numpy as np
import pytest

from dyn_lightning.data.audio import AudioWarning, DatasetError
from dyn_lightning.data.recordings import AnnotatedRecordings, frames_in_segments

RATE = 16000


@pytest.fixture
def folder(data_root, tmp_path):
    return shutil.copytree(data_root / "AMI", tmp_path / "AMI")


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
        ("test.uem", r"no \.uem and no \.lab file"),
        ("test.rttm", r"test\.rttm: no such file"),
        ("mtg.flac", "mtg.* is named in test"),
    ],
)
def test_missing_files(folder, name, message):
    (folder / name).unlink()
    with pytest.raises(DatasetError, match=message):
        AnnotatedRecordings(folder, RATE)


CENTRES_S = 0.032 + 0.016 * np.arange(309)


def target_of(folder) -> np.ndarray:
    (item,) = AnnotatedRecordings(folder, RATE)
    return item["target"].numpy()


def test_regions_called_noscore_are_not_scored(folder):
    with open(folder / "test.rttm", "a") as file:
        file.write(
            "NOSCORE mtg 1 1.2 1.0 <NA> <NA> <NA> <NA> <NA>\nNON-SPEECH mtg 1 2.5 1.0 <NA> noise <NA> <NA> <NA>\n"
        )
    expected = np.where((CENTRES_S >= 1.0) & (CENTRES_S < 1.5), 1.0, 0.0)
    expected[(CENTRES_S < 0.5) | (CENTRES_S >= 4.0) | ((CENTRES_S >= 1.2) & (CENTRES_S < 2.2))] = -100.0
    np.testing.assert_array_equal(target_of(folder), expected)


def test_a_lab_file_scores_the_whole_recording(folder):
    (folder / "test.uem").unlink()
    (folder / "mtg.lab").write_text("0 1.0 sil\n1.0 1.5 A\n1.5 5 nonspeech\n")
    np.testing.assert_array_equal(target_of(folder), (CENTRES_S >= 1.0) & (CENTRES_S < 1.5))


def test_a_uem_file_may_stand_beside_lab_files(folder):
    (folder / "test.rttm").unlink()
    (folder / "mtg.lab").write_text("1.0 1.5 speech\n")
    expected = np.where((CENTRES_S >= 1.0) & (CENTRES_S < 1.5), 1.0, 0.0)
    expected[(CENTRES_S < 0.5) | (CENTRES_S >= 4.0)] = -100.0
    np.testing.assert_array_equal(target_of(folder), expected)


def test_names_and_suffixes_in_capitals(folder, write_audio):
    (folder / "mtg.flac").unlink()
    write_audio(folder / "mtg.WAV", np.zeros(5 * RATE))
    (folder / "test.uem").rename(folder / "test.UEM")
    (folder / "._test.uem").write_bytes(b"\x00\x05\x16\x07")
    assert target_of(folder).max() == 1.0


def test_annotations_that_do_not_belong_together(folder):
    (folder / "test.rttm").write_text("SPEAKER other 1 1.0 0.5 <NA> <NA> A <NA> <NA>\n")
    with pytest.raises(DatasetError, match=r"test\.rttm: names none of the recordings of test\.uem"):
        AnnotatedRecordings(folder, RATE)
    (folder / "test.rttm").write_text("")
    with pytest.warns(AudioWarning, match="has no speech in mtg"):
        AnnotatedRecordings(folder, RATE)


def test_a_recording_in_two_uem_files(folder):
    shutil.copy(folder / "test.uem", folder / "all.uem")
    shutil.copy(folder / "test.rttm", folder / "all.rttm")
    with pytest.raises(DatasetError, match="names mtg, as another UEM file does"):
        AnnotatedRecordings(folder, RATE)
