import shutil

import numpy as np
import pytest

from dyn_lightning.data.audio import DatasetError
from dyn_lightning.data.corpora import SPLITS, find_noise, find_speech
from dyn_lightning.data.corpora.esc50 import esc50
from dyn_lightning.data.corpora.librispeech import librispeech
from dyn_lightning.data.corpora.vctk import vctk
from dyn_lightning.errors import SettingError

SAMPLES = np.zeros(10, dtype=np.float32)


def groups(splits):
    return {split: {clip.group for clip in splits[split]} for split in SPLITS}


def make_librispeech(root, write_audio, **speakers):
    for subset, names in speakers.items():
        for name in names:
            for take in range(2):
                folder = root / subset.replace("_", "-") / name / "1"
                write_audio(folder / f"{name}-1-{take:04d}.flac", SAMPLES)
    return root


def names(prefix, count):
    return [f"{prefix}{i}" for i in range(count)]


def test_librispeech_official_dev_and_test(tmp_path, write_audio):
    root = make_librispeech(tmp_path, write_audio, train_clean_100=names("1", 4), dev_clean=["21"], test_other=["31"])
    splits = librispeech(root)
    assert groups(splits) == {"train": set(names("1", 4)), "val": {"21"}, "test": {"31"}}
    assert len(splits["train"]) == 8
    assert splits["val"][0].clip_id == "21-1-0000"


def test_librispeech_without_dev_holds_out_a_fifth_of_the_speakers(tmp_path, write_audio):
    root = make_librispeech(tmp_path, write_audio, train_clean_100=names("1", 20), test_clean=["9"])
    found = groups(librispeech(root))
    assert (len(found["train"]), len(found["val"]), found["test"]) == (16, 4, {"9"})
    assert found["train"] | found["val"] == set(names("1", 20))
    assert groups(librispeech(root)) == found


def test_librispeech_with_train_alone_splits_three_ways(tmp_path, write_audio):
    found = groups(librispeech(make_librispeech(tmp_path, write_audio, train_clean_100=names("1", 20))))
    assert [len(found[split]) for split in SPLITS] == [16, 2, 2]
    assert len(found["train"] | found["val"] | found["test"]) == 20


def test_librispeech_refuses_a_speaker_in_two_splits(tmp_path, write_audio):
    make_librispeech(tmp_path, write_audio, train_clean_100=names("1", 4), test_clean=["11"], dev_clean=["2"])
    with pytest.raises(DatasetError, match="speaker 11 is in both train and test"):
        librispeech(tmp_path)


def test_librispeech_wrong_layout(tmp_path, write_audio):
    with pytest.raises(DatasetError, match="no such folder"):
        librispeech(tmp_path / "LibriSpeech")
    write_audio(tmp_path / "train-clean-100" / "a.flac", SAMPLES)
    with pytest.raises(DatasetError, match=r"a\.flac: is not at <subset>/<speaker>"):
        librispeech(tmp_path)


def test_librispeech_without_train_and_with_too_few_speakers(tmp_path, write_audio):
    make_librispeech(tmp_path, write_audio, test_clean=["9"])
    with pytest.raises(DatasetError, match=r"no train-\* subset"):
        librispeech(tmp_path)
    make_librispeech(tmp_path, write_audio, train_clean_100=["1"])
    with pytest.raises(DatasetError, match="1 speakers are too few"):
        librispeech(tmp_path)


def test_vctk_splits_by_speaker_and_takes_the_first_microphone(tmp_path, write_audio):
    for speaker in range(20):
        for mic in (1, 2):
            write_audio(tmp_path / f"p{speaker}" / f"p{speaker}_001_mic{mic}.flac", SAMPLES, 48000)
    splits = vctk(tmp_path)
    assert [len(splits[split]) for split in SPLITS] == [16, 2, 2]
    assert not set.intersection(*groups(splits).values())
    assert all(clip.path.stem.endswith("_mic1") for split in SPLITS for clip in splits[split])


def test_vctk_wrong_layout(tmp_path, write_audio):
    write_audio(tmp_path / "p1" / "p1_001.flac", SAMPLES)
    with pytest.raises(DatasetError, match="official VCTK"):
        vctk(tmp_path)


def test_find_speech(tmp_path, write_audio):
    with pytest.raises(DatasetError, match="Set data_root"):
        find_speech(tmp_path / "gone")
    with pytest.raises(DatasetError, match=r"neither LibriSpeech nor VCTK-Corpus-0\.92"):
        find_speech(tmp_path)
    folder = tmp_path / "VCTK-Corpus-0.92/wav48_silence_trimmed"
    for speaker in range(3):
        write_audio(folder / f"p{speaker}" / f"p{speaker}_001_mic1.flac", SAMPLES)
    assert len(find_speech(tmp_path)["test"]) == 1
    make_librispeech(tmp_path / "LibriSpeech", write_audio, train_clean_100=names("1", 3))
    assert find_speech(tmp_path)["test"][0].group.startswith("1")
    assert find_speech(tmp_path, "vctk")["test"][0].group.startswith("p")
    with pytest.raises(SettingError, match="speech='timit' is unknown"):
        find_speech(tmp_path, "timit")


@pytest.fixture
def esc(data_root, tmp_path):
    return shutil.copytree(data_root / "ESC-50", tmp_path / "ESC-50-master")


def test_esc50_folds_with_wav_names_for_flac_files(esc):
    splits = find_noise(esc.parent)
    folds = {split: {clip.clip_id[0] for clip in splits[split]} for split in SPLITS}
    assert folds == {"train": set("123"), "val": {"4"}, "test": {"5"}}
    assert splits["val"][0].path.suffix == ".flac"
    assert splits["val"][0].group == "rain"


def test_esc50_absent(tmp_path):
    with pytest.raises(DatasetError, match="no ESC-50 folder"):
        find_noise(tmp_path)


def test_esc50_without_its_table(esc):
    (esc / "meta/esc50.csv").unlink()
    with pytest.raises(DatasetError, match=r"esc50\.csv: no such file"):
        esc50(esc)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fold", "folder", "column 'fold' is missing"),
        ("3-1234-A-0.wav,3", "3-1234-A-0.wav,9", "line 6: fold '9' is not 1 to 5"),
        ("3-1234-A-0.wav,3", "absent.wav,3", r"absent\.wav: is named in esc50\.csv but absent"),
        (",4,0", ",5,0", "no clip for val"),
    ],
)
def test_esc50_damaged_table(esc, old, new, message):
    table = esc / "meta/esc50.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DatasetError, match=message):
        esc50(esc)
