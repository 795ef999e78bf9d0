import numpy as np
import pytest

from dyn_lightning.data.audio import AudioError, read_audio
from dyn_lightning.data.utterance_store import UtteranceStore
from tests.data.asvspoof_tree import write_flac


@pytest.fixture
def paths(tmp_path):
    return [write_flac(tmp_path / f"{i}.flac", 262144 if i == 1 else 65536, seed=i) for i in range(3)]


def test_keeps_what_fits_and_reads_the_rest_again(paths, monkeypatch):
    reads = []

    def counted(path, sample_rate):
        reads.append(path)
        return read_audio(path, sample_rate)

    monkeypatch.setattr("dyn_lightning.data.utterance_store.read_audio", counted)
    store = UtteranceStore(paths, 16000, 0.6)  # two of the small ones, 0.25 MiB each
    for _ in range(2):
        for number in (0, 1, 2):
            np.testing.assert_array_equal(store.read(number), read_audio(paths[number], 16000))
    assert reads == [paths[0], paths[1], paths[2], paths[1]]
    assert store.kept_bytes == 2 * 65536 * 4
    assert len(store) == 3


def test_unusable_files(paths):
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[: len(whole) // 2])
    write_flac(paths[2], 0)
    paths[0].write_text("no audio")
    store = UtteranceStore(paths, 16000, 1.0)
    for number in range(3):
        with pytest.raises(AudioError, match=rf"{number}\.flac: .*(cannot be decoded|truncated)"):
            store.read(number)
    assert store.kept_bytes == 0
