import os
import shutil

import pytest

from dyn_lightning.data.asvspoof_protocols import find_root, read_asv_rates, read_asv_scores, read_part_asv_rates, scan
from dyn_lightning.data.audio import DatasetError
from dyn_lightning.data.corpora import CORPORA
from dyn_lightning.data.corpora.asvspoof import PARTS
from tests.data.asvspoof_tree import (
    asv_score_lines,
    make_5,
    make_2019,
    make_2021,
    protocol_2019,
    scores_2019,
    write_flac,
    write_lines,
)

LA = CORPORA["LA"]


def rows(found):
    return [(u.utterance_id, u.speaker, u.system, u.target) for u in found.utterances]


@pytest.mark.parametrize("access", ["LA", "PA"])
def test_2019(tmp_path, access):
    root = make_2019(tmp_path, access, n_bona_fide=1, n_spoof=1)
    found = scan(root, CORPORA[access], "eval")
    assert rows(found) == [
        (f"{access}_E_0000000", f"{access}_0000", "-", 1),
        (f"{access}_E_0000001", f"{access}_0001", "A07", 0),
        (f"{access}_E_0000002", f"{access}_0000", "A08", 0),
        (f"{access}_E_0000003", f"{access}_0001", "A09", 0),
    ]
    assert found.utterances[2].path == str(root / f"ASVspoof2019_{access}_eval/flac/{access}_E_0000002.flac")
    for part in PARTS:
        clean = scan(root, CORPORA[access], part)
        assert (clean.problems, clean.strays) == ([], None)
        assert all(os.path.isfile(u.path) for u in clean.utterances)


def test_2021_scores_the_evaluation_subset_alone(tmp_path):
    found = scan(make_2021(tmp_path), CORPORA["ASVspoof2021_LA"], "eval")
    assert rows(found) == [("LA_E_9332881", "LA_0009", "A07", 0), ("LA_E_7294490", "LA_0020", "-", 1)]
    assert (found.problems, found.strays) == ([], None)


def test_2021_df_names_the_bona_fide_system_otherwise(tmp_path):
    found = scan(make_2021(tmp_path, "DF"), CORPORA["ASVspoof2021_DF"], "eval")
    assert rows(found) == [
        ("DF_E_2000011", "LA_0023", "A14", 0),
        ("DF_E_2000013", "TEF2", "Task1-team20", 0),
        ("DF_E_2000024", "LA_0043", "-", 1),
    ]
    assert (found.problems, found.strays) == ([], None)


@pytest.mark.parametrize("folder", ["ASVspoof5_protocols", "."])
def test_asvspoof5(tmp_path, folder):
    root = make_5(tmp_path, folder)
    for part, attack in (("train", "A05"), ("dev", "A11"), ("eval", "A20")):
        letter = part[0].upper()
        found = scan(root, CORPORA["ASVspoof5"], part)
        assert rows(found) == [
            (f"{letter}_0000000001", f"{letter}_0001", attack, 0),
            (f"{letter}_0000000002", f"{letter}_0002", "-", 1),
        ]
        assert (found.problems, found.strays) == ([], None)
        assert all(os.path.isfile(u.path) for u in found.utterances)


@pytest.mark.parametrize("below", ["", "LA", "LA/LA"])
def test_root_may_lie_one_or_two_folders_below(tmp_path, below):
    root = make_2019(tmp_path / below, n_bona_fide=1, n_spoof=1)
    assert find_root(tmp_path, LA) == root


def test_no_root(tmp_path):
    make_2019(tmp_path / "MiniSpoof/LA", n_bona_fide=1, n_spoof=1)
    with pytest.raises(DatasetError, match=r"no protocols of ASVspoof2019 LA.*LA/LA/ASVspoof2019_LA_cm_protocols"):
        find_root(tmp_path, LA)
    with pytest.raises(DatasetError, match="Set data_root"):
        find_root(tmp_path / "gone", LA)


def test_missing_protocol_and_folder(tmp_path):
    root = make_2019(tmp_path)
    protocol_2019(root, "dev").unlink()
    with pytest.raises(DatasetError, match=r"cm\.dev\.trl\.txt: no such file"):
        scan(root, LA, "dev")
    shutil.rmtree(root / "ASVspoof2019_LA_eval")
    with pytest.raises(DatasetError, match=r"ASVspoof2019_LA_eval/flac: no such folder"):
        scan(root, LA, "eval")


BROKEN = [
    ("LA_0000 LA_D_0000000 - bonafide", "lines without the 5 columns of ASVspoof2019 LA (1): line 1 (4)"),
    ("LA_0000 LA_D_0000000 - - genuine", "lines whose key is neither bonafide nor spoof (1): line 1 (genuine)"),
    ("LA_0000 LA_D_0000000 - A01 bonafide", "lines whose system contradicts the key (1): line 1 (A01 bonafide)"),
    ("LA_0000 LA_D_0000000 - - spoof", "lines whose system contradicts the key (1): line 1 (- spoof)"),
    ("LA_0000 LA_D_0000001 - - bonafide", "utterances named more than once (1): LA_D_0000001"),
]


@pytest.mark.parametrize(("line", "message"), BROKEN)
def test_broken_line(tmp_path, line, message):
    root = make_2019(tmp_path)
    path = protocol_2019(root, "dev")
    write_lines(path, [line, *path.read_text().splitlines()[1:]])
    assert [str(path) in text and message in text for text in scan(root, LA, "dev").problems] == [True]


def test_all_problems_of_a_kind_are_told_at_once(tmp_path):
    root = make_2019(tmp_path, n_bona_fide=30)
    path = protocol_2019(root, "dev")
    lines = path.read_text().splitlines()
    lines[0] = "LA_0000 LA_D_0000000"
    lines[1] = lines[1].replace("bonafide", "real")
    write_lines(path, ["", *lines])
    for number in range(2, 15):
        (root / f"ASVspoof2019_LA_dev/flac/LA_D_{number:07d}.flac").unlink()
    short, unknown, absent = scan(root, LA, "dev").problems
    assert "line 2 (2)" in short
    assert "line 3 (real)" in unknown
    assert "utterances of ASVspoof2019.LA.cm.dev.trl.txt without a file (13): LA_D_0000002, " in absent
    assert "LA_D_0000011 and 3 more. " in absent
    assert "LA_D_0000012" not in absent


def test_file_without_a_line(tmp_path):
    root = make_2019(tmp_path)
    write_flac(root / "ASVspoof2019_LA_dev/flac/LA_D_9.flac", 10)
    write_flac(root / "ASVspoof2019_LA_dev/flac/LA_D_8.flac", 10)
    (root / "ASVspoof2019_LA_dev/flac/notes.txt").touch()
    found = scan(root, LA, "dev")
    assert found.problems == []
    assert "files without a line in ASVspoof2019.LA.cm.dev.trl.txt (2): LA_D_8, LA_D_9. " in found.strays


def test_files_that_enrol_speakers_need_no_line(tmp_path):
    """They lie among the official LA files of dev and eval."""
    root = make_2019(tmp_path)
    write_flac(root / "ASVspoof2019_LA_dev/flac/LA_D_8.flac", 10)
    write_flac(root / "ASVspoof2019_LA_dev/flac/LA_D_9.flac", 10)
    for gender, names in (("male", "LA_D_8"), ("female", "LA_D_0000001,LA_D_9")):
        path = root / f"ASVspoof2019_LA_asv_protocols/ASVspoof2019.LA.asv.dev.{gender}.trn.txt"
        write_lines(path, [f"LA_0000 {names}"])
    assert scan(root, LA, "dev").strays is None


def test_empty_protocol(tmp_path):
    root = make_2019(tmp_path)
    write_lines(protocol_2019(root, "dev"), [])
    assert scan(root, LA, "dev").problems == [
        f"{protocol_2019(root, 'dev')}: holds no utterance. Restore the official protocol."
    ]


def test_asv_scores(tmp_path):
    path = write_lines(tmp_path / "scores.txt", asv_score_lines(["A01", "A02"]))
    scores = read_asv_scores(path, ["A02", "A01"])
    assert scores["target"].tolist() == [1.0, 3.0, 4.0, 5.0]
    assert scores["nontarget"].tolist() == [-2.0, -1.0, 0.0, 2.0]
    assert scores["spoof"].tolist() == [-5.0, 4.5, -5.0, 4.5]


def test_asv_scores_of_another_part(tmp_path):
    root = make_2019(tmp_path, asv_scores=True)
    shutil.copy(scores_2019(root, "eval"), scores_2019(root, "dev"))
    with pytest.raises(DatasetError, match=r"systems A07, A08, A09, the protocol has A01, A02: .* another"):
        read_asv_scores(scores_2019(root, "dev"), ["A01", "A02"])


def test_asv_scores_of_another_part_with_the_same_attacks(tmp_path):
    """Those of physical access are the same in all parts."""
    root = make_2019(tmp_path, "PA", asv_scores=True, systems={part: ["AA", "CC"] for part in PARTS})
    for part in ("dev", "eval"):
        assert read_part_asv_rates(root, CORPORA["PA"], part, ["AA", "CC"]) == (0.25, 0.0, 0.5)
    shutil.copy(scores_2019(root, "eval", "PA"), scores_2019(root, "dev", "PA"))
    for part, other in (("dev", "eval"), ("eval", "dev")):
        message = (
            rf"{part}\.gi\.trl\.scores\.txt: holds the same scores as .*{other}\.gi\.trl\.scores\.txt, .* official"
        )
        with pytest.raises(DatasetError, match=message):
            read_part_asv_rates(root, CORPORA["PA"], part, ["AA", "CC"])
    scores_2019(root, "dev", "PA").unlink()
    assert read_part_asv_rates(root, CORPORA["PA"], "dev", ["AA", "CC"]) is None
    assert read_part_asv_rates(root, CORPORA["PA"], "eval", ["AA", "CC"]) == (0.25, 0.0, 0.5)


def test_asv_scores_without_a_tdcf(tmp_path):
    lines = [line for line in asv_score_lines(["A01"]) if "spoof 4.5" not in line]
    path = write_lines(tmp_path / "scores.txt", lines)
    assert read_asv_scores(path, ["A01"])["spoof"].tolist() == [-5.0]
    with pytest.raises(DatasetError, match=r"scores\.txt: .*t-DCF is not defined.* restore the official"):
        read_asv_rates(path, ["A01"])


def test_asv_scores_of_2021(tmp_path):
    """Their lines are SPEAKER UTTERANCE SCORE, their t-DCF is another."""
    path = write_lines(tmp_path / "score.txt", ["LA_0007 LA_E_5013670 0.5", "LA_0007 LA_E_5013671 -7.5"])
    with pytest.raises(DatasetError, match=r"score\.txt: lines that are not .* \(2\): .*2021 and 5 have other columns"):
        read_asv_scores(path, ["A07"])


@pytest.mark.parametrize(
    "line",
    [
        "bonafide target",
        "bonafide target high",
        "bonafide target nan",
        "bonafide spoof 1.0",
        "A01 target 1.0",
        "A01 fake 1.0",
    ],
)
def test_malformed_asv_scores(tmp_path, line):
    path = write_lines(tmp_path / "scores.txt", [*asv_score_lines(["A01"]), line, "", line])
    with pytest.raises(DatasetError, match=r"scores\.txt: lines that are not .* \(2\): line 11, line 13\. "):
        read_asv_scores(path, ["A01"])


def test_asv_scores_without_a_class(tmp_path):
    lines = [line for line in asv_score_lines(["A01"]) if "nontarget" not in line]
    with pytest.raises(DatasetError, match="holds no score for nontarget"):
        read_asv_scores(write_lines(tmp_path / "scores.txt", lines), ["A01"])


def test_published_counts_add_up():
    """Totals as the corpora's READMEs and papers state them."""
    totals = {
        ("LA", "train"): 25380,
        ("LA", "dev"): 24844,
        ("LA", "eval"): 71237,
        ("PA", "train"): 54000,
        ("PA", "dev"): 29700,
        ("PA", "eval"): 134730,
        ("ASVspoof2021_LA", "eval"): 148176,
        ("ASVspoof2021_DF", "eval"): 533928,
        ("ASVspoof5", "train"): 182357,
        ("ASVspoof5", "dev"): 140950,
        ("ASVspoof5", "eval"): 680774,
    }
    found = {
        (name, part): c.bona_fide + c.spoof for name, corpus in CORPORA.items() for part, c in corpus.counts.items()
    }
    assert found == totals
