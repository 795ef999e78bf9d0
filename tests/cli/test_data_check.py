import os
from collections import Counter
from pathlib import Path

import pytest

from dyn_lightning.cli.data_check import count_differences, data_check
from dyn_lightning.data.corpora import CORPORA
from dyn_lightning.data.corpora.asvspoof import Counts
from dyn_lightning.errors import SettingError
from tests.data.asvspoof_tree import (
    asv_score_lines,
    make_5,
    make_2019,
    protocol_2019,
    scores_2019,
    write_flac,
    write_lines,
)

REAL = Path(os.environ.get("DATA_ROOT", Path(__file__).parents[2] / "../shared/data")) / "MiniSpoof"


def run(capsys, root, *options):
    status = data_check(["--data_root", str(root), *options])
    return status, capsys.readouterr().out


def test_sound_but_of_other_counts(tmp_path, capsys):
    root = make_2019(tmp_path / "LA", asv_scores=True)
    status, text = run(capsys, tmp_path)
    assert status == 3
    assert f"ASVspoof2019 LA at {root}\n" in text
    assert "eval: 9 utterances: 3 bona fide, 6 spoofed (A07 2, A08 2, A09 2)\n" in text
    assert "This is not ASVspoof2019 LA by its counts:\n  train: bona fide: 3 instead of 2580; " in text
    assert "A02: 2 instead of 3716" in text
    assert "Files and lines match." in text
    assert "no ASV scores" not in text


def test_the_published_counts(tmp_path, capsys, monkeypatch):
    """A made-up corpus passes for the published one where the published counts are its own."""
    make_2019(tmp_path)
    corpus = CORPORA["LA"]
    own = {
        "train": Counts(3, 4, ("A01", "A02")),
        "dev": Counts(3, 4, ("A01", "A02")),
        "eval": Counts(3, 6, ("A07", "A08", "A09")),
    }
    monkeypatch.setitem(CORPORA, "LA", type(corpus)(**vars(corpus) | {"counts": own}))
    status, text = run(capsys, tmp_path)
    assert status == 0
    assert "All counts are those of ASVspoof2019 LA.\nFiles and lines match.\nNo audio was decoded" in text
    assert f"{scores_2019(tmp_path, 'dev')}: no ASV scores: min t-DCF of this part is left out." in text


def test_a_missing_part_is_never_as_published(tmp_path, capsys, monkeypatch):
    make_2019(tmp_path)
    own = dict.fromkeys(("train", "dev"), Counts(3, 4)) | {"eval": Counts(3, 6)}
    corpus = type(CORPORA["LA"])(**vars(CORPORA["LA"]) | {"counts": own})
    monkeypatch.setitem(CORPORA, "LA", corpus)
    assert run(capsys, tmp_path)[0] == 0
    protocol_2019(tmp_path, "eval").unlink()
    status, text = run(capsys, tmp_path)
    assert status == 1
    assert "  eval: bona fide: 0 instead of 3; spoofed: 0 instead of 6\n" in text


def test_differences():
    published = CORPORA["LA"].counts["train"]
    right = Counter({"-": 2580} | {f"A0{n}": 3800 for n in range(1, 7)})
    assert count_differences(right, published) == []
    wrong = right + Counter({"A07": 1}) - Counter({"A01": 2})
    assert count_differences(wrong, published) == [
        "spoofed: 22799 instead of 22800",
        "A01: 3798 instead of 3800",
        "others instead: A07 (1 each)",
    ]
    mini = Counter({"-": 155} | {f"M0{n}": 38 for n in range(1, 7)})
    assert count_differences(mini, published) == [
        "bona fide: 155 instead of 2580",
        "spoofed: 228 instead of 22800",
        "none of A01 to A06 (3800 each)",
        "others instead: M01 to M06 (38 each)",
    ]
    uneven = Counter({"-": 2580, "A01": 3800, "A02": 3800, "A04": 3800, "A06": 3799, "X": 5, "Y9": 7, "Y10": 1})
    assert count_differences(uneven, published)[1:] == [
        "A06: 3799 instead of 3800",
        "none of A03, A05 (3800 each)",
        "others instead: X, Y10, Y9 (13 in all)",
    ]
    totals_alone = Counts(2, 3)
    assert count_differences(Counter({"-": 2, "A01": 3}), totals_alone) == []
    assert count_differences(Counter({"-": 1, "A01": 3}), totals_alone) == ["bona fide: 1 instead of 2"]


def test_what_is_broken_is_told_for_all_parts_at_once(tmp_path, capsys):
    root = make_2019(tmp_path, asv_scores=True, n_samples=20000)
    (root / "ASVspoof2019_LA_train/flac/LA_T_0000001.flac").unlink()
    write_flac(root / "ASVspoof2019_LA_dev/flac/LA_D_x.flac", 100)
    path = root / "ASVspoof2019_LA_dev/flac/LA_D_0000000.flac"
    path.write_bytes(path.read_bytes()[:9000])
    (root / "ASVspoof2019_LA_dev/flac/LA_D_0000002.flac").write_bytes(b"")
    write_lines(scores_2019(root, "dev"), asv_score_lines(["A09"]))
    protocol_2019(root, "eval").unlink()
    before = sorted(tmp_path.rglob("*"))
    status, text = run(capsys, root)
    assert status == 1
    assert "without a file (1): LA_T_0000001" in text
    assert "files without a line in ASVspoof2019.LA.cm.dev.trl.txt (1): LA_D_x. " in text
    assert "holds scores of the systems A09, the protocol has A01, A02" in text
    assert "ASVspoof2019.LA.cm.eval.trl.txt: no such file" in text
    assert "cannot be used (" not in text
    status, text = run(capsys, root, "--decode")
    assert status == 1
    assert "audio files that cannot be used (2): LA_D_0000000.flac " in text
    assert "LA_D_0000002.flac cannot be decoded" in text
    assert "Every file was decoded." in text
    assert sorted(tmp_path.rglob("*")) == before


def test_no_corpus(tmp_path, capsys):
    status, text = run(capsys, tmp_path)
    assert status == 1
    assert "no protocols of ASVspoof2019 LA found" in text


def test_another_corpus(tmp_path, capsys):
    make_5(tmp_path)
    status, text = run(capsys, tmp_path, "--corpus", "ASVspoof5", "--decode", "--num_workers", "1")
    assert status == 3
    assert "train: 2 utterances: 1 bona fide, 1 spoofed (A05 1)" in text
    assert "This is not ASVspoof 5 by its counts" in text
    with pytest.raises(SettingError, match=r"corpus='2015' is unknown\. Use 'LA'"):
        run(capsys, tmp_path, "--corpus", "2015")


@pytest.mark.skipif(not REAL.is_dir(), reason="no MiniSpoof: set DATA_ROOT")
def test_minispoof_is_sound_and_not_asvspoof2019(capsys):
    status, text = run(capsys, REAL)
    assert status == 3
    assert "eval: 288 utterances: 125 bona fide, 163 spoofed (M07 35, M08 36, M09 20, M10 36, M11 36)" in text
    assert "This is not ASVspoof2019 LA by its counts" in text
    assert "Files and lines match." in text
