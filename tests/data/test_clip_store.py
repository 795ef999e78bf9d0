import numpy as np
import pytest

from dyn_lightning.data import clip_store
from dyn_lightning.data.audio import AudioError, read_audio
from dyn_lightning.data.clip_store import ClipStore
from dyn_lightning.data.corpora import Clip

RATE = 16000


@pytest.fixture
def clips(tmp_path, write_audio):
    rng = np.random.default_rng(0)
    return [
        Clip(write_audio(tmp_path / f"{i}.flac", 0.1 * rng.standard_normal(8000 + i)), str(i), "a") for i in range(4)
    ]


@pytest.mark.parametrize("capacity_mib", [0.0, 0.07, 10.0])
def test_excerpts_are_the_same_whatever_is_kept(clips, capacity_mib):
    store = ClipStore(clips, "speech", RATE, capacity_mib)
    for number in (0, 3, 1, 2, 0, 3):
        whole = read_audio(clips[number].path, RATE)
        np.testing.assert_array_equal(store.excerpt(number, 100, 900), whole[100:1000])
        assert store.stats(number).n_samples == 8000 + number
        assert store.kept_bytes <= capacity_mib * 2**20


def test_kept_clips_are_not_read_again(clips, monkeypatch):
    store = ClipStore(clips, "speech", RATE, 2 * 8100 * 4 / 2**20)  # room for two
    for number in range(4):
        store.stats(number)
    reads = []

    def count(path, *args):
        reads.append(path.stem)
        return read_audio(path, *args)

    monkeypatch.setattr(clip_store, "read_audio", count)
    for number in range(4):
        store.excerpt(number, 0, 500)
    assert reads == ["2", "3"]


def test_short_clips_are_repeated(clips):
    whole = read_audio(clips[0].path, RATE)
    for capacity_mib in (0.0, 1.0):
        tiled = ClipStore(clips, "noise", RATE, capacity_mib).excerpt(0, 0, 20000)
        np.testing.assert_array_equal(tiled, np.concatenate([whole, whole, whole])[:20000])


def test_silent_files(tmp_path, write_audio):
    silent = [Clip(write_audio(tmp_path / "silent.flac", np.zeros(8000)), "s", "a")]
    for kind in ("speech", "noise"):
        with pytest.raises(AudioError, match=rf"silent\.flac: is silent .* cannot serve as {kind}"):
            ClipStore(silent, kind, RATE, 1.0).stats(0)
    hiss = 10 ** (-60 / 20) * np.random.default_rng(0).standard_normal(8000)
    faint = [Clip(write_audio(tmp_path / "faint.flac", hiss), "f", "a")]
    ClipStore(faint, "noise", RATE, 1.0).stats(0)
    with pytest.raises(AudioError, match="speech"):
        ClipStore(faint, "speech", RATE, 1.0).stats(0)
