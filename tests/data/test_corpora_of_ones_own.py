"""A corpus is one function that lists it: a user's own is given by its path, or entered by a name."""

import sys
from pathlib import Path

import numpy as np
import pytest

from dyn_lightning.data.asvspoof2019 import ASVspoof2019DataModule
from dyn_lightning.data.audio import DatasetError
from dyn_lightning.data.corpora import (
    CORPORA,
    Entry,
    SpoofCorpus,
    find_speech,
    register_corpus,
    registry,
    spoof_corpus,
)
from dyn_lightning.data.vad import VADDataModule
from dyn_lightning.errors import SettingError

MINE = """
from dyn_lightning.data.corpora import CORPORA, Clip, Recording, Utterance, split_by_group

def speech(data_root):
    paths = sorted((data_root / "mine").glob("*.wav"))
    return split_by_group([Clip(p, p.stem, p.stem[:2]) for p in paths], 0.25, 0.25, data_root)

def meetings(data_root):
    path = data_root / "mine" / "s0.wav"
    return [Recording(path, [(0.5, 1.0)], [(0.0, 2.0)], [])]

def spoofs(data_root, part):
    kinds = [("bonafide", "-", 1), ("tts", "X1", 0)]
    return [Utterance(n, "s", system, target, str(data_root / "mine" / "s0.wav")) for n, system, target in kinds]

def nothing(*_):
    return []

MY_LA = CORPORA["LA"]
"""


@pytest.fixture
def own(tmp_path: Path, write_audio, data_root, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a corpus of four speakers, and ESC-50 beside it; ``corpora_of_mine`` lists it."""
    (tmp_path / "corpora_of_mine.py").write_text(MINE)
    noise = np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32)
    for speaker in range(4):
        write_audio(tmp_path / "mine" / f"s{speaker}.wav", noise)
    (tmp_path / "ESC-50").symlink_to(data_root / "ESC-50")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("corpora_of_mine", None)


def test_speech_and_recordings_by_the_path_of_their_function(own):
    module = VADDataModule(
        str(own),
        2,
        4,
        test_items=2,
        val_items=2,
        speech="corpora_of_mine.speech",
        recordings="corpora_of_mine.meetings",
    )
    module.setup("fit")
    clips = {split: len(mixtures.speech) for split, mixtures in module.mixtures.items()}
    assert clips == {"train": 2, "val": 1, "test": 1}
    assert module.test_names == ["mixed", "meetings"]
    (recording,) = module.test_dataloader()[1]
    speech_s = float((recording["target"] == 1).sum()) * 256 / 16000
    assert speech_s == pytest.approx(0.5, abs=0.02)


def test_spoofed_speech_by_the_path_of_its_function(own):
    module = ASVspoof2019DataModule(
        str(own), 2, 8000, partition="corpora_of_mine.spoofs", also_test=["corpora_of_mine.spoofs", "ASVspoof5"]
    )
    assert module.test_names == ["eval", "spoofs", "ASVspoof5"]
    module.setup("fit")
    (batch,) = module.train_dataloader()
    assert sorted(zip(batch["target"].tolist(), batch["meta"]["system"], strict=True)) == [(0, "X1"), (1, "-")]
    with pytest.raises(DatasetError, match="no protocols of ASVspoof 5"):
        module.setup("test")
    assert spoof_corpus("corpora_of_mine.MY_LA") is CORPORA["LA"]
    assert isinstance(CORPORA["PA"], SpoofCorpus)


def test_a_name_that_is_entered_counts_as_those_of_the_package(own, monkeypatch: pytest.MonkeyPatch):
    import corpora_of_mine

    monkeypatch.setattr(registry, "SPEECH", dict(registry.SPEECH))
    entry = Entry("Mine", (Path("mine"),), lambda folder: corpora_of_mine.speech(folder.parent))
    register_corpus(registry.SPEECH, "mine", entry)
    assert len(find_speech(own, "mine")["train"]) == 2
    assert find_speech(own, "auto") == find_speech(own, "mine")  # neither LibriSpeech nor VCTK is there
    with pytest.raises(SettingError, match="a corpus vctk already"):
        register_corpus(registry.SPEECH, "vctk", entry)


@pytest.mark.parametrize(
    ("speech", "message"),
    [
        ("timit", "speech='timit' is unknown. Use 'auto', 'librispeech', 'vctk', or the path"),
        ("corpora_of_mine.absent", r"speech=corpora_of_mine\.absent cannot be imported"),
        ("absent_package.f", r"speech=absent_package\.f cannot be imported"),
        ("corpora_of_mine.nothing", "has to give a dict of train, val, test"),
        ("corpora_of_mine.__name__", "is no function that lists a corpus"),
    ],
)
def test_what_lists_no_corpus_is_told_in_one_line(own, speech, message):
    with pytest.raises(SettingError, match=message):
        find_speech(own, speech)


def test_spoofed_speech_that_is_none(own):
    with pytest.raises(SettingError, match="partition='XA' is unknown"):
        ASVspoof2019DataModule(str(own), partition="XA")
    module = ASVspoof2019DataModule(str(own), partition="corpora_of_mine.nothing")
    with pytest.raises(
        DatasetError, match=r"corpora_of_mine\.nothing, part train: its function has to give Utterances"
    ):
        module.setup("fit")
